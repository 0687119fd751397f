"""Settings that change while a worker runs: taken over as a whole, or refused with a sentence."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from taskmesh.app.settings_watch import SettingsSource, SettingsWatch
from taskmesh.cli.pushing import push
from taskmesh.config.keys import KEYS
from taskmesh.config.live import LIVE, changed_keys, digest, refusal
from taskmesh.config.pushed import NOTHING_PUSHED, Pushed
from taskmesh.config.settings import LogSection, Settings, WorkerSection
from taskmesh.errors import ConfigError
from taskmesh.model.checkup.findings import Severity
from taskmesh.model.checkup.settings_rules import SettingsReport, judge_reports

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
    """Settings as they are found; ``found`` is what reading does, ``pushed`` what holds for all workers."""

    def __init__(self, *above: str) -> None:
        self.found: Callable[[], Settings] = lambda: PLAIN
        self.pushed = NOTHING_PUSHED
        source = SettingsSource(self.load, frozenset(above))
        self.watch = SettingsWatch(PLAIN, source, lambda: self.pushed)

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


def test_what_is_pushed_is_taken_over_at_the_next_look_over_the_file() -> None:
    file = File()
    file.pushed = Pushed(3, {"log.level": "debug", "worker.drain_seconds": 7.0})
    note = file.watch.look()
    assert note is not None
    assert (note.pushed, note.is_refused) == (3, False)
    assert (note.settings["log"]["level"], note.settings["worker"]["drain_seconds"]) == ("debug", 7.0)
    assert logging.getLogger().level == logging.DEBUG
    assert file.watch.look() is None
    # The file says something else of one, and something of another; what is pushed stays above it.
    file.found = lambda: replace(PLAIN, log=LogSection(level="error", format="json"))
    assert file.watch.look() is None
    note = file.watch.look()
    assert note is not None
    assert note.settings["log"] == {"level": "debug", "format": "json"}
    file.pushed = Pushed(4)
    note = file.watch.look()
    assert note is not None
    assert (note.pushed, note.settings["log"]) == (4, {"level": "error", "format": "json"})


def test_what_is_meant_for_one_worker_stays_above_what_is_pushed() -> None:
    file = File("log.level")
    file.pushed = Pushed(1, {"log.level": "debug", "log.format": "json"})
    note = file.watch.look()
    assert note is not None
    assert (note.pushed, note.settings["log"]) == (1, {"level": "info", "format": "json"})


@pytest.mark.parametrize("values", [{"worker.threads": 8}, {"log.levl": "debug"}, {"log.level": "loud"}])
def test_a_push_that_cannot_be_taken_over_changes_nothing(
    values: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    file = File()
    file.pushed = Pushed(1, {"worker.cancel_grace_seconds": 2.0})
    assert file.watch.look() is not None
    capsys.readouterr()
    file.pushed = Pushed(2, {"worker.drain_seconds": 1.0, **values})
    note = file.watch.look()
    assert note is not None
    assert (note.pushed, note.is_refused) == (1, True)
    worker = note.settings["worker"]
    assert (worker["cancel_grace_seconds"], worker["drain_seconds"]) == (2.0, 30.0)
    [line] = capsys.readouterr().err.splitlines()
    assert f"revision 2 of the pushed settings is not taken over: {next(iter(values))} " in line
    file.pushed = Pushed(3)
    note = file.watch.look()
    assert note is not None
    assert (note.pushed, note.is_refused) == (3, False)


def test_a_broken_file_keeps_no_push_away() -> None:
    file = File()
    file.found = broken
    assert file.looks() == [None, (PLAIN, True), None]
    file.pushed = Pushed(1, {"log.level": "debug"})
    note = file.watch.look()
    assert note is not None
    assert (note.pushed, note.is_refused, note.settings["log"]["level"]) == (1, True, "debug")


def test_every_setting_that_needs_a_restart_is_named() -> None:
    assert changed_keys(PLAIN, BUSY) == ["worker.threads", "worker.drain_seconds", "log.level"]
    assert refusal(PLAIN, LOUD) == ""
    both = replace(BUSY, namespace="other")
    assert refusal(PLAIN, both).startswith("namespace, worker.threads have changed, which takes a restart")


def test_a_digest_tells_the_live_settings_apart_and_no_others() -> None:
    other_threads = replace(PLAIN, worker=WorkerSection(threads=8))
    assert digest(PLAIN) == digest(other_threads)
    assert len({digest(PLAIN), digest(LOUD), digest(BUSY)}) == 3


def test_the_page_says_which_settings_are_live() -> None:
    page = (Path(__file__).parents[2] / "docs/configuration.md").read_text()
    table = page[page.index("## While a worker runs") : page.index("## Every setting")]
    assert set(re.findall(r"\| `([a-z_.]+)` \|$", table, re.MULTILINE)) == LIVE
    assert set(KEYS) >= LIVE


def test_the_default_file_and_the_help_say_which_settings_are_live() -> None:
    said = (Path(__file__).parents[2] / "configs/default.toml").read_text()
    listed = said[said.index("# Live settings") : said.index("Others take a restart")]
    assert set(re.findall(r"\w+\.\w+", listed)) == LIVE
    assert push.__doc__ is not None
    assert set(re.findall(r"\b[a-z]+\.[a-z_]+\b", push.__doc__)) == LIVE


def test_reports_are_kept_as_text_also_those_of_other_versions() -> None:
    reports = [SettingsReport("ab", pushed, is_refused) for pushed in (0, 12) for is_refused in (False, True)]
    assert [report.text for report in reports] == ["ab", "ab!", "ab@12", "ab@12!"]
    assert [SettingsReport.parse(report.text) for report in reports] == reports
    assert SettingsReport.parse("ab@x") == SettingsReport("ab")


SAME, OTHER = SettingsReport("1", 2), SettingsReport("2", 2)


@pytest.mark.parametrize(
    ("reports", "newest", "found"),
    [
        ({}, 2, {}),
        ({"a": SAME, "b": SAME}, 2, {"settings.revision": Severity.WELL, "settings.pushed": Severity.WELL}),
        ({"a": SettingsReport("1")}, 0, {"settings.revision": Severity.WELL}),
        ({"a": SAME, "b": OTHER}, 2, {"settings.revision": Severity.WARNING, "settings.pushed": Severity.WELL}),
        ({"a": SAME}, 3, {"settings.revision": Severity.WELL, "settings.pushed": Severity.WARNING}),
        (
            {"a": SAME, "b": SettingsReport("1", 2, is_refused=True)},
            2,
            {
                "settings.taken_over": Severity.WARNING,
                "settings.revision": Severity.WELL,
                "settings.pushed": Severity.WELL,
            },
        ),
    ],
)
def test_the_doctor_compares_the_settings_of_workers(
    reports: dict[str, SettingsReport], newest: int, found: dict[str, Severity]
) -> None:
    assert {each.id: each.severity for each in judge_reports(reports, newest)} == found


def test_the_doctor_names_who_does_not_hold_the_newest_revision() -> None:
    reports = {"a": SAME, "b": SettingsReport("1", 1), "c": SettingsReport("1")}
    [finding] = [each for each in judge_reports(reports, 2) if each.id == "settings.pushed"]
    assert finding.what == "revision 2 of the pushed settings is not held by b (1), c (none)"
