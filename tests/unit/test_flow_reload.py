"""Flow files that are watched: all or nothing, and a rollback stays until a file changes. The store is in memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from taskmesh.app.flow_watch import FlowWatch
from taskmesh.client.flow_reload import FlowReload, Reloaded
from taskmesh.client.flow_versions import FlowBox
from taskmesh.errors import FlowError, StoreUnavailableError
from taskmesh.flows.folder import find_flow_files
from taskmesh.model.flow_versions import FlowChange, FlowVersion, RegisteredFlow, VersionState
from taskmesh.observability.tally import Tally
from taskmesh.store.calls import Who
from taskmesh.store.flow_versions import Answer, FlowBody

PATIENCE_SECONDS = 60

TEXT = "flow: {name}\nnodes:\n  a: {{task: w:{task}}}\n"


class InMemory:
    """As much of the store's side as a reload needs; the contract of the real one is tested there."""

    def __init__(self) -> None:
        self.bodies: dict[str, list[FlowBody]] = {}
        self.active: dict[str, int] = {}
        self.archived: set[tuple[str, int]] = set()
        self.away = False
        self.changes: list[FlowChange] = []

    def push(self, name: str, body: FlowBody, who: Who, is_draft: bool) -> Answer:
        if self.away:
            raise StoreUnavailableError("Redis does not answer")
        self.bodies.setdefault(name, []).append(body)
        return Answer("pushed", len(self.bodies[name]))

    def activate(self, name: str, number: int, expected: int | None, who: Who, kind: str = "activate") -> Answer:
        self.changes.append(FlowChange(kind, 0.0, number, self.active.get(name), *who))
        self.active[name] = number
        return Answer("activated")

    def flows(self, names: Sequence[str]) -> list[RegisteredFlow | None]:
        return [
            RegisteredFlow(name, len(self.bodies[name]), self.active.get(name)) if name in self.bodies else None
            for name in names
        ]

    def versions(self, wanted: Sequence[tuple[str, int]]) -> list[FlowVersion | None]:
        return [self._version(*each) for each in wanted]

    def log(self, name: str, limit: int) -> list[FlowChange]:
        return self.changes

    def number_of(self, name: str, flow_hash: str) -> int | None:
        hashes = [body.hash for body in self.bodies.get(name, ())]
        return hashes.index(flow_hash) + 1 if flow_hash in hashes else None

    def _version(self, name: str, number: int) -> FlowVersion:
        state = VersionState.ACTIVE if self.active.get(name) == number else VersionState.INACTIVE
        if (name, number) in self.archived:
            state = VersionState.ARCHIVED
        return FlowVersion(name, number, state, self.bodies[name][number - 1].hash, "1", 1, "", 0.0, "")


class Folder:
    """A directory of flow files, and what reloads of it register."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store: Any = InMemory()
        self._changes = 0

    def write(self, name: str, task: str, file: str = "") -> None:
        path = self.path / (file or f"{name}.yaml")
        path.write_text(TEXT.format(name=name, task=task))
        # Two changes within one tick of the file system's clock would look like one.
        self._changes += 1
        os.utime(path, ns=(self._changes, self._changes))

    def reloading(self, activate: bool = True) -> FlowReload:
        return FlowReload(FlowBox(self.store), [str(self.path)], activate, None)

    def problems(self, reloading: FlowReload) -> list[str]:
        with pytest.raises(FlowError) as caught:
            reloading.reload()
        return [problem.replace(f"{self.path}/", "") for problem in caught.value.problems]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_what_is_new_becomes_a_version_and_what_is_not_does_nothing(folder: Folder) -> None:
    folder.write("order", "one")
    folder.write("etl", "one")
    reloading = folder.reloading()
    assert reloading.has_changed()
    assert reloading.reload() == Reloaded(("etl@1", "order@1"), ("etl@1", "order@1"))
    assert not reloading.has_changed()
    folder.write("order", "two")
    assert reloading.has_changed()
    assert reloading.reload() == Reloaded(("order@2",), ("order@2",))
    folder.write("order", "two")
    assert reloading.has_changed()
    assert reloading.reload() == Reloaded()
    assert folder.reloading().reload() == Reloaded(), "another process finds nothing new"


def test_nothing_is_activated_unless_the_settings_say_so(folder: Folder) -> None:
    folder.write("order", "one")
    assert folder.reloading(activate=False).reload() == Reloaded(("order@1",), ())
    assert folder.store.active == {}
    # Nothing is active, so a process that may activate does.
    assert folder.reloading().reload() == Reloaded((), ("order@1",))


def test_a_rollback_stays_until_the_file_changes(folder: Folder) -> None:
    folder.write("order", "one")
    reloading = folder.reloading()
    reloading.reload()
    folder.write("order", "two")
    reloading.reload()
    folder.store.active["order"] = 1
    assert folder.reloading().reload() == Reloaded(), "a worker that starts again does not take it back"
    assert reloading.reload() == Reloaded()
    folder.write("order", "three")
    assert reloading.reload().activated == ("order@3",)
    folder.write("order", "two")
    assert reloading.reload() == Reloaded((), ("order@2",)), "the file was changed to what it was"


def test_a_version_that_was_pushed_and_not_activated_any_more_is_activated_by_the_next_process(folder: Folder) -> None:
    folder.write("order", "one")
    folder.reloading().reload()
    folder.write("order", "two")
    assert folder.reloading(activate=False).reload() == Reloaded(("order@2",), ())
    assert folder.reloading().reload() == Reloaded((), ("order@2",))


def test_one_bad_file_keeps_all_from_being_registered(folder: Folder) -> None:
    folder.write("order", "one")
    folder.write("bad", "not allowed")
    (folder.path / "worse.json").write_text("{]")
    reloading = folder.reloading()
    problems = folder.problems(reloading)
    assert [problem[: problem.index(": ")] for problem in problems] == ["bad.yaml:3:13", "worse.json:1:2"]
    assert folder.store.bodies == {}
    assert not reloading.has_changed(), "it is told once"
    folder.write("bad", "good")
    (folder.path / "worse.json").unlink()
    assert reloading.has_changed()
    assert reloading.reload().pushed == ("bad@1", "order@1")


def test_what_cannot_be_registered_keeps_all_from_being_registered(folder: Folder) -> None:
    folder.write("order", "one")
    folder.write("shop:order", "one", "shop.yaml")
    folder.write("order", "one", "zz.yaml")
    assert folder.problems(folder.reloading()) == [
        "zz.yaml:1:1: flow 'order' is also in order.yaml; a name has one file"
    ]
    (folder.path / "zz.yaml").unlink()
    [problem] = folder.problems(folder.reloading())
    assert problem.startswith("shop.yaml:1:1: a flow with the name 'shop:order' cannot be registered")
    assert folder.store.bodies == {}


def test_a_file_whose_version_is_archived_is_refused_where_it_would_be_activated(folder: Folder) -> None:
    folder.write("order", "one")
    folder.reloading().reload()
    folder.store.active.clear()
    folder.store.archived.add(("order", 1))
    folder.write("etl", "one")
    [problem] = folder.problems(folder.reloading())
    assert problem.startswith("order.yaml:1:1: this is order@1, which is archived and cannot be activated")
    assert "etl" not in folder.store.bodies
    assert folder.reloading(activate=False).reload() == Reloaded(("etl@1",), ())


def test_a_store_that_is_away_is_gone_back_to(folder: Folder) -> None:
    folder.write("order", "one")
    reloading = folder.reloading()
    folder.store.away = True
    with pytest.raises(StoreUnavailableError):
        reloading.reload()
    assert reloading.has_changed()
    folder.store.away = False
    assert reloading.reload().pushed == ("order@1",)
    assert not reloading.has_changed()


def test_a_path_that_is_not_there_is_told_until_it_is(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "later")
    reloading = folder.reloading()
    [problem] = folder.problems(reloading)
    assert "of flows.paths is not there" in problem
    assert not reloading.has_changed()
    folder.path.mkdir()
    assert reloading.has_changed()
    assert reloading.reload() == Reloaded()


def watched(folder: Folder, scenario: Callable[[], Awaitable[None]]) -> Tally:
    """What was counted while the folder was watched."""
    tally = Tally()
    watch = FlowWatch(folder.reloading(), [str(folder.path)], tally)

    async def both() -> None:
        watching = asyncio.create_task(watch.run())
        try:
            await scenario()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    asyncio.run(both())
    return tally


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


def test_changes_are_noticed_and_what_is_wrong_is_told(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    folder.write("order", "one")

    async def scenario() -> None:
        await until(lambda: folder.store.active.get("order") == 1)
        folder.write("order", "not allowed")
        await until(lambda: "order.yaml:3:13" in caplog.text)
        folder.write("order", "two")
        await until(lambda: folder.store.active.get("order") == 2)

    counted = watched(folder, scenario).take()
    outcomes = {labels[0]: amount for name, labels, amount in counted["counters"] if name == "flow_reloads_total"}
    assert outcomes["refused"] >= 1
    assert outcomes["registered"] >= 1
    assert "nothing of the flow files is registered" in caplog.text


def test_watching_outlives_any_failure(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskmesh.app.occasions.LOOK_SECONDS", 0.05)
    folder.write("order", "one")
    failures = [StoreUnavailableError("Redis does not answer"), RuntimeError("nobody thought of that")]
    push = folder.store.push

    def failing_push(*arguments: Any) -> Answer:
        if failures:
            raise failures.pop()
        answer: Answer = push(*arguments)
        return answer

    folder.store.push = failing_push

    async def scenario() -> None:
        await until(lambda: folder.store.active.get("order") == 1)

    watched(folder, scenario)
    assert failures == []


def test_files_are_found_directly_in_directories_and_by_their_names(tmp_path: Path) -> None:
    names = ("b.yaml", "a.json", "c.yml", ".swp", "notes.txt", "deep/d.yaml")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_flow_files([str(tmp_path), str(tmp_path / "notes.txt")])
    assert [file.name for file in found] == ["a.json", "b.yaml", "c.yml", "notes.txt"]
