"""The supervisor, with real child processes that stand in for I/O processes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from taskmesh.clock import Clock, ManualClock, SystemClock
from taskmesh.config.settings import LEAVE_SECONDS, BrokerSection, FlowsSection, LogSection, Settings, WorkerSection
from taskmesh.errors import ConfigError
from taskmesh.worker.channels.child import Child
from taskmesh.worker.supervision.child import SILENT_SECONDS
from taskmesh.worker.supervision.link import IoStart, SettingsNote, start_message
from taskmesh.worker.supervision.plan import WorkerPlan, plan_worker
from taskmesh.worker.supervision.supervisor import Supervisor, run_worker

PATIENCE_SECONDS = 20
FAKE = "tests.unit.fake_io_process"


class Sink:
    def __init__(self) -> None:
        self.added: list[tuple[dict[str, Any], str]] = []

    def add(self, delta: Mapping[str, Any], source: str) -> None:
        self.added.append((dict(delta), source))

    def render(self) -> bytes:
        return f"seen {len(self.added)}\n".encode()


class Fixture:
    """A supervisor that runs as a task of the test's loop."""

    def __init__(self, app: str, io_processes: int = 1, drain_seconds: float = 0.0) -> None:
        worker = WorkerSection(io_processes=io_processes, processes=5, drain_seconds=drain_seconds, health_port=0)
        settings = Settings(worker=worker, broker=BrokerSection(url="amqp://u:secret@h/"))
        self.sink = Sink()
        self.deaths: list[str] = []
        self.clock = SystemClock()
        plan = plan_worker(settings, [app], FAKE, FAKE)
        self.notes: list[SettingsNote] = []
        self.supervisor = self.supervise(plan, self.deaths.append, self.clock)

    def supervise(self, plan: WorkerPlan, on_io_death: Callable[[str], None], clock: Clock) -> Supervisor:
        return Supervisor(plan, self.sink, on_io_death, lambda: self.notes.pop() if self.notes else None, clock)

    async def until(self, condition: Callable[[], bool]) -> None:
        await asyncio.to_thread(_poll, condition)

    async def until_ready(self) -> None:
        await self.until(lambda: self.supervisor.health_port > 0 and not self.supervisor.not_ready())


def _poll(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def supervised(fixture: Fixture, scenario: Callable[[], Awaitable[None]]) -> int:
    async def both() -> int:
        running = asyncio.create_task(fixture.supervisor.run())
        try:
            await scenario()
            return await asyncio.wait_for(running, PATIENCE_SECONDS)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    return asyncio.run(both())


def lives(log: Path) -> list[list[str]]:
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def test_every_io_process_is_started_and_a_drain_ends_them_cleanly(tmp_path: Path) -> None:
    log = tmp_path / "log"
    fixture = Fixture(f"log:{log}", io_processes=2)

    async def scenario() -> None:
        await fixture.until_ready()
        assert fixture.supervisor.not_live() == []
        assert fixture.supervisor.metrics() == b"seen 2\n"
        fixture.supervisor.terminate()
        assert "the worker is shutting down" in fixture.supervisor.not_ready()

    assert supervised(fixture, scenario) == 0
    assert sorted((index, executors) for _, _, index, executors in lives(log)) == [("0", "3"), ("1", "2")]
    assert {source for _, source in fixture.sink.added} == {holder for _, holder, _, _ in lives(log)}
    assert fixture.deaths == []


def test_an_io_process_that_takes_its_time_to_exit_has_ended_cleanly() -> None:
    fixture = Fixture("linger", drain_seconds=60)

    async def scenario() -> None:
        await fixture.until_ready()
        fixture.supervisor.terminate()

    assert supervised(fixture, scenario) == 0
    assert fixture.deaths == []


def test_a_killed_io_process_is_told_and_replaced_under_a_new_name(tmp_path: Path) -> None:
    log = tmp_path / "log"
    fixture = Fixture(f"log:{log}")

    async def scenario() -> None:
        await fixture.until_ready()
        os.kill(int(lives(log)[0][0]), signal.SIGKILL)
        await fixture.until(lambda: len(lives(log)) == 2)
        await fixture.until_ready()
        fixture.supervisor.terminate()

    assert supervised(fixture, scenario) == 0
    first, second = (holder for _, holder, _, _ in lives(log))
    assert fixture.deaths == [first]
    assert first != second


def test_settings_that_change_are_passed_on_also_to_those_that_are_started_later(tmp_path: Path) -> None:
    log = tmp_path / "log"
    fixture = Fixture(f"log:{log}", io_processes=2, drain_seconds=1.0)
    told = Path(f"{log}.settings")
    settings = Settings(worker=WorkerSection(drain_seconds=7.0), broker=BrokerSection(url="amqp://u:secret@h/"))
    changed = replace(settings, log=LogSection(level="debug"))

    def notes() -> list[str]:
        return told.read_text().splitlines() if told.exists() else []

    async def scenario() -> None:
        await fixture.until_ready()
        fixture.notes.append(SettingsNote(changed.to_mapping()))
        await fixture.until(lambda: len(notes()) == 2)
        killed, other = (pid for pid, *_ in lives(log))
        os.kill(int(killed), signal.SIGKILL)
        await fixture.until(lambda: len(notes()) == 3)
        fixture.notes.append(SettingsNote(changed.to_mapping(), is_refused=True, pushed=3))
        await fixture.until(lambda: len(notes()) == 5)
        later = lives(log)[2][0]
        assert set(notes()[:2]) == {f"{killed} debug False 0", f"{other} debug False 0"}
        assert notes()[2] == f"{later} debug False 0"
        assert set(notes()[3:]) == {f"{later} debug True 3", f"{other} debug True 3"}
        assert fixture.supervisor.plan.drain_seconds == 7.0
        fixture.supervisor.terminate()

    assert supervised(fixture, scenario) == 0


def test_one_that_dies_again_and_again_is_waited_for() -> None:
    fixture = Fixture("die")

    async def scenario() -> None:
        await fixture.until(lambda: len(fixture.deaths) == 3)
        assert fixture.supervisor.not_ready() != []
        fixture.supervisor.terminate()

    supervised(fixture, scenario)
    assert 3 <= len(fixture.deaths) <= 4


def test_a_fatal_problem_is_one_sentence_and_no_restart(capsys: pytest.CaptureFixture[str]) -> None:
    fixture = Fixture("unfit", io_processes=2)

    async def scenario() -> None:
        return

    assert supervised(fixture, scenario) == 2
    assert capsys.readouterr().err == (
        "taskmesh worker: RabbitMQ refuses the user 'guest': check the credentials in broker.url\n"
    )


def test_readiness_says_what_is_missing() -> None:
    fixture = Fixture("unready")

    async def scenario() -> None:
        expected = ["I/O process 0: waits for amqp://u:secret@h/"]
        await fixture.until(lambda: fixture.supervisor.not_ready() == expected)
        fixture.supervisor.terminate()

    assert supervised(fixture, scenario) == 0


def test_a_second_signal_stops_at_once() -> None:
    fixture = Fixture("stubborn", drain_seconds=3600)

    async def scenario() -> None:
        await fixture.until_ready()
        os.kill(os.getpid(), signal.SIGTERM)
        await fixture.until(lambda: "the worker is shutting down" in fixture.supervisor.not_ready())
        os.kill(os.getpid(), signal.SIGINT)

    assert supervised(fixture, scenario) == 1
    assert len(fixture.deaths) == 1


def test_a_drain_that_takes_too_long_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskmesh.worker.supervision.supervisor.LEAVE_SECONDS", LEAVE_SECONDS / 50)
    fixture = Fixture("stubborn")

    async def scenario() -> None:
        await fixture.until_ready()
        fixture.supervisor.terminate()

    assert supervised(fixture, scenario) == 1
    assert len(fixture.deaths) == 1


def test_an_io_process_that_falls_silent_is_not_alive() -> None:
    fixture = Fixture("quiet")
    clock = ManualClock()
    fixture.supervisor = fixture.supervise(fixture.supervisor.plan, fixture.deaths.append, clock)

    async def scenario() -> None:
        await fixture.until_ready()
        clock.advance(SILENT_SECONDS + 1)
        sentences = fixture.supervisor.not_live()
        assert any("was last heard of 11 s ago" in sentence for sentence in sentences)
        assert any("was last heard of" in sentence for sentence in fixture.supervisor.not_ready())
        fixture.supervisor.terminate()

    assert supervised(fixture, scenario) == 0


def test_a_hook_that_fails_does_not_stop_the_supervisor(tmp_path: Path) -> None:
    log = tmp_path / "log"
    fixture = Fixture(f"log:{log}")

    def broken(holder_id: str) -> None:
        raise ConnectionError("no Redis")

    fixture.supervisor = fixture.supervise(fixture.supervisor.plan, broken, SystemClock())

    async def scenario() -> None:
        await fixture.until_ready()
        os.kill(int(lives(log)[0][0]), signal.SIGKILL)
        await fixture.until(lambda: len(lives(log)) == 2)
        fixture.supervisor.terminate()

    supervised(fixture, scenario)


def test_nothing_is_left_when_the_supervisor_is_cancelled(tmp_path: Path) -> None:
    log = tmp_path / "log"
    fixture = Fixture(f"log:{log}", io_processes=2)

    async def scenario() -> None:
        running = asyncio.create_task(fixture.supervisor.run())
        await fixture.until_ready()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())
    assert len(lives(log)) == 2
    assert not any(psutil.pid_exists(int(pid)) for pid, *_ in lives(log))


def test_a_worker_without_an_app_or_a_port_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="no app is named"):
        plan_worker(Settings(), [], FAKE, FAKE)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = Settings(worker=WorkerSection(health_port=taken.getsockname()[1], modules=("app",)))
        assert run_worker(plan_worker(settings, [], FAKE, FAKE), Sink(), print, lambda: None) == 2
    [error] = capsys.readouterr().err.splitlines()
    assert error.startswith("taskmesh worker: ")
    assert "worker.health_port" in error


def test_what_a_child_said_comes_before_its_end() -> None:
    async def scenario() -> list[Any]:
        events: list[Any] = []
        child = Child(FAKE, (), events.extend, events.append)
        child.send(start_message(IoStart("h", 0, 1, ("unfit",), {})))
        # The loop does not turn until both can be seen: what was said, and that it has ended.
        _poll(lambda: not psutil.pid_exists(child.pid))
        await child.end(PATIENCE_SECONDS)
        return events

    said, end = asyncio.run(scenario())
    assert said[0] == "fatal"
    assert end == "it ended with exit code 2"


def test_executors_are_dealt_out_evenly_and_everyone_has_one() -> None:
    settings = Settings(worker=WorkerSection(io_processes=3, processes=2, modules=("a", "b", "a")))
    plan = plan_worker(settings, [], FAKE, FAKE)
    assert plan.apps == ("a", "b")
    assert [start.executors for start in plan.starts()] == [1, 1, 1]


def test_one_more_process_registers_flow_files_where_there_are_any() -> None:
    settings = Settings(worker=WorkerSection(io_processes=2, modules=("a",)), flows=FlowsSection(paths=("flows",)))
    *io_processes, last = plan_worker(settings, [], FAKE, "other").starts()
    assert [(start.index, start.module, start.name) for start in io_processes] == [
        (0, FAKE, "I/O process 0"),
        (1, FAKE, "I/O process 1"),
    ]
    assert (last.index, last.module, last.name) == (2, "other", "the process that registers flow files")
