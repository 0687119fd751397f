"""Settings that change while a worker runs: taken over as a whole, or refused with a sentence."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from taskmesh.app.settings_watch import SettingsWatch
from taskmesh.config.keys import KEYS
from taskmesh.config.live import LIVE, changed_keys, refusal, revision
from taskmesh.config.settings import LogSection, Settings, WorkerSection
from taskmesh.errors import ConfigError
from taskmesh.model.checkup.findings import Severity
from taskmesh.model.checkup.settings_rules import judge_revisions

PLAIN = Settings()
LOUD = replace(PLAIN, log=LogSection(level="debug"))
BUSY = replace(LOUD, worker=WorkerSection(threads=8, drain_seconds=1.0))


def broken() -> Settings:
    raise ConfigError("log.levl (taskmesh.toml): no such setting\nlog.format = 'x' (taskmesh.toml): must be one of")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


class File:
    """Settings as they are found; ``found`` is what reading does."""

    def __init__(self) -> None:
        self.found: Callable[[], Settings] = lambda: PLAIN
        self.watch = SettingsWatch(PLAIN, self.load)

    def load(self) -> Settings:
        return self.found()

    def looks(self) -> list[tuple[Settings, bool] | None]:
        notes = [self.watch.look() for _ in range(3)]
        restored = {str(each.to_mapping()): each for each in (PLAIN, LOUD, BUSY)}
        return [(restored[str(note.settings)], note.is_refused) if note else None for note in notes]


def test_what_changes_is_told_once_it_has_settled() -> None:
    file = File()
    assert file.looks() == [None, None, None]
    file.found = lambda: LOUD
    assert file.looks() == [None, (LOUD, False), None]
    assert logging.getLogger().level == logging.DEBUG


def test_a_file_that_is_being_written_is_not_taken_for_an_empty_one() -> None:
    file = File()
    file.found = lambda: LOUD
    assert file.watch.look() is None
    file.found = lambda: PLAIN
    assert file.looks() == [None, None, None]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (lambda: BUSY, ["worker.threads has changed, which takes a restart of this worker; until then it goes on"]),
        (broken, ["log.levl (taskmesh.toml): no such setting", "log.format = 'x' (taskmesh.toml): must be one of"]),
    ],
)
def test_what_cannot_be_taken_over_is_refused_as_a_whole_and_told_once(
    found: Callable[[], Settings], said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    file = File()
    file.found = found
    assert file.looks() == [None, (PLAIN, True), None]
    assert len(caplog.messages) == len(said)
    for message, sentence in zip(caplog.messages, said, strict=True):
        assert sentence in message
    file.found = lambda: PLAIN
    assert file.looks() == [None, (PLAIN, False), None]
    file.found = lambda: LOUD
    assert file.looks() == [None, (LOUD, False), None]


def test_every_setting_that_needs_a_restart_is_named() -> None:
    assert changed_keys(PLAIN, BUSY) == ["worker.threads", "worker.drain_seconds", "log.level"]
    assert refusal(PLAIN, LOUD) == ""
    both = replace(BUSY, namespace="other")
    assert refusal(PLAIN, both).startswith("namespace, worker.threads have changed, which takes a restart")


def test_a_revision_tells_the_live_settings_apart_and_no_others() -> None:
    other_threads = replace(PLAIN, worker=WorkerSection(threads=8))
    assert revision(PLAIN) == revision(other_threads)
    assert len({revision(PLAIN), revision(LOUD), revision(BUSY)}) == 3


def test_the_page_says_which_settings_are_live() -> None:
    page = (Path(__file__).parents[2] / "docs/configuration.md").read_text()
    table = page[page.index("## While a worker runs") : page.index("## Every setting")]
    assert set(re.findall(r"\| `([a-z_.]+)` \|$", table, re.MULTILINE)) == LIVE
    assert set(KEYS) >= LIVE


@pytest.mark.parametrize(
    ("revisions", "found"),
    [
        ({}, {}),
        ({"a": "1", "b": "1"}, {"settings.revision": Severity.WELL}),
        ({"a": "1", "b": "2"}, {"settings.revision": Severity.WARNING}),
        ({"a": "1", "b": "1!"}, {"settings.taken_over": Severity.WARNING, "settings.revision": Severity.WELL}),
    ],
)
def test_the_doctor_compares_the_settings_of_workers(revisions: dict[str, str], found: dict[str, Severity]) -> None:
    assert {each.id: each.severity for each in judge_revisions(revisions)} == found
