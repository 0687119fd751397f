"""Executor pools with real processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from taskmesh.clock import SystemClock
from taskmesh.config.settings import LogSection, Settings
from taskmesh.wire.codec import pack, unpack
from taskmesh.worker.channels.protocol import Outcome, Work
from taskmesh.worker.executors.pool import STUCK_REASON, ExecutorPool, PoolEvents
from taskmesh.worker.executors.process import ExecutorSettings

APP = "tests.integration.executor_app"
PATIENCE_SECONDS = 30


class Bench:
    """A pool with a record of everything that it reports."""

    def __init__(self, **settings: Any) -> None:
        chosen: dict[str, Any] = {"apps": (APP,), "count": 1, **settings}
        events = PoolEvents(
            self._take_started,
            self._take_beats,
            self._take_outcomes,
            self._take_lost,
            self._changed,
            self._take_fatal,
        )
        self.pool = ExecutorPool(ExecutorSettings(**chosen), events, SystemClock())
        self.outcomes: dict[int, Outcome] = {}
        self.started: list[int] = []
        self.beats: list[tuple[int, bytes]] = []
        self.lost: list[tuple[list[int], list[int], str]] = []
        self.fatal: list[str] = []
        self._news = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def until_reported(self, *ids: int) -> None:
        await self.until(lambda: all(map(self.reported, ids)))

    def reported(self, id_: int) -> bool:
        return id_ in self.outcomes or any(id_ in started + waiting for started, waiting, _ in self.lost)

    def send(self, id_: int, task: str, **arguments: Any) -> None:
        self.pool.submit([work(id_, task, **arguments)])

    def output(self, id_: int) -> Any:
        outcome = self.outcomes[id_]
        assert outcome.failure is None, outcome.failure
        return unpack(outcome.output)

    def failure(self, id_: int) -> str:
        failure = self.outcomes[id_].failure
        assert failure is not None
        return f"{failure.type}: {failure.message}"

    async def run(self, id_: int, task: str, **arguments: Any) -> Any:
        self.send(id_, task, **arguments)
        await self.until_reported(id_)
        return self.output(id_)

    def _take_started(self, id_: int) -> None:
        self.started.append(id_)

    def _take_beats(self, beats: Sequence[tuple[int, bytes]]) -> None:
        self.beats += map(tuple, beats)
        self._changed()

    def _take_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            assert not self.reported(outcome.id), f"{outcome.id} is reported twice"
            self.outcomes[outcome.id] = outcome
        self._changed()

    def _take_lost(self, started: Sequence[int], waiting: Sequence[int], reason: str) -> None:
        assert not any(map(self.reported, [*started, *waiting])), "reported twice"
        self.lost.append((list(started), list(waiting), reason))
        self._changed()

    def _take_fatal(self, sentence: str) -> None:
        self.fatal.append(sentence)
        self._changed()

    def _changed(self) -> None:
        self._news.set()


async def until_exists(path: Path) -> None:
    await holds(path.exists)


async def holds(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody tells of."""
    await asyncio.to_thread(_poll, condition)


def _poll(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def work(id_: int, task: str, **arguments: Any) -> Work:
    return Work(id_, task, pack(arguments), ("run", f"node-{id_}", 1))


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Bench]:
    bench = Bench(**settings)
    bench.pool.start()
    try:
        await bench.until(lambda: bench.pool.ready_count == settings.get("count", 1) or bool(bench.fatal))
        yield bench
    finally:
        await bench.pool.stop()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_works_are_run_and_reported_once() -> None:
    async def scenario() -> None:
        async with running(count=2) as bench:
            bench.pool.submit([work(number, "add", a=number, b=1) for number in range(1000)])
            assert bench.pool.in_flight == 1000
            assert await bench.pool.drain(PATIENCE_SECONDS)
            assert [bench.output(number) for number in range(1000)] == list(range(1, 1001))
            assert bench.pool.in_flight == 0
            assert bench.lost == []
            assert "add" in bench.pool.tasks

    run(scenario)


def test_the_window_opens_with_short_tasks_and_closes_with_a_long_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(threads=2) as bench:
            sync_window = bench.pool.window
            bench.pool.submit([work(number, "noop") for number in range(200)])
            assert await bench.pool.drain(PATIENCE_SECONDS)
            assert bench.pool.window > sync_window + 10
            assert bench.pool.capacity == bench.pool.window
            bench.send(1000, "mark_and_wait", started=str(tmp_path / "a"), until=str(tmp_path / "go"))
            bench.send(1001, "mark_and_wait", started=str(tmp_path / "b"), until=str(tmp_path / "go"))
            await until_exists(tmp_path / "a")
            await until_exists(tmp_path / "b")
            await asyncio.sleep(0.15)
            (tmp_path / "go").touch()
            await bench.until_reported(1000, 1001)
            assert bench.pool.window == sync_window

    run(scenario)


def test_user_code_cannot_end_or_disturb_an_executor(capfd: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        async with running() as bench:
            first = await bench.run(1, "pid")
            bench.send(2, "leave", code=3)
            bench.send(3, "unpackable")
            bench.send(4, "no_such_task")
            bench.send(5, "add", a=1)
            bench.send(6, "async_leave")
            await bench.run(7, "noisy", text="\x00\x01 not a frame")
            await bench.until_reported(2, 3, 4, 5, 6)
            assert bench.failure(2) == "SystemExit: 3"
            assert "builtins.object has no encoding" in bench.failure(3)
            assert "task 'no_such_task' is not registered" in bench.failure(4)
            assert bench.failure(5).startswith("TypeError")
            assert bench.failure(6) == "SystemExit: 4"
            assert await bench.run(8, "who") == "run/node-8"
            assert await bench.run(9, "pid") == first

    run(scenario)
    assert "not a frame\nand to the descriptor itself" in capfd.readouterr().out


def test_signals_are_left_to_the_supervisor() -> None:
    async def scenario() -> None:
        async with running() as bench:
            pid = await bench.run(1, "pid")
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                os.kill(pid, number)
            assert await bench.run(2, "pid") == pid

    run(scenario)


def test_a_killed_executor_is_told_at_once_and_replaced(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running() as bench:
            pid = await bench.run(1, "pid")
            bench.send(2, "mark_and_wait", started=str(tmp_path / "a"), until=str(tmp_path / "never"))
            bench.send(3, "pid")
            await until_exists(tmp_path / "a")
            os.kill(pid, signal.SIGKILL)
            await bench.until_reported(2, 3)
            assert bench.lost == [([2], [], "it was killed by SIGKILL")]
            assert bench.output(3) != pid
            assert bench.pool.deaths == 1

    run(scenario)


def test_works_that_had_not_started_outlive_the_executor(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running() as bench:
            bench.pool.submit([work(number, "noop") for number in range(100)])
            assert await bench.pool.drain(PATIENCE_SECONDS)
            # Sent ahead in one batch, so that they wait inside the executor that dies.
            bench.pool.submit([work(200, "segfault"), *(work(number, "noop") for number in range(201, 210))])
            assert await bench.pool.drain(PATIENCE_SECONDS)
            assert bench.lost == [([200], [], "it was killed by SIGSEGV")]
            assert set(range(201, 210)) < set(bench.outcomes)

    run(scenario)


def test_a_task_that_dies_again_and_again_does_not_stop_the_others() -> None:
    async def scenario() -> None:
        async with running(count=2) as bench:
            for number in range(4):
                bench.send(number, "segfault")
                bench.send(100 + number, "add", a=number, b=0)
            assert await bench.pool.drain(PATIENCE_SECONDS)
            assert sorted(started for lost in bench.lost for started in lost[0]) == [0, 1, 2, 3]
            assert [bench.output(100 + number) for number in range(4)] == [0, 1, 2, 3]

    run(scenario)


def test_works_behind_a_long_task_are_recalled_for_others(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(count=2) as bench:
            bench.pool.submit([work(number, "noop") for number in range(200)])
            assert await bench.pool.drain(PATIENCE_SECONDS)
            blocker = work(1000, "mark_and_wait", started=str(tmp_path / "a"), until=str(tmp_path / "go"))
            bench.pool.submit([blocker, *(work(number, "pid") for number in range(1001, 1041))])
            await bench.until_reported(*range(1001, 1041))
            assert bench.pool.in_flight == 1
            (tmp_path / "go").touch()
            await bench.until_reported(1000)
            assert bench.output(1000) not in {bench.output(number) for number in range(1010, 1041)}
            assert bench.lost == []

    run(scenario)


def test_works_behind_a_held_interpreter_are_given_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running() as bench:
            bench.pool.submit([work(number, "noop") for number in range(100)])
            assert await bench.pool.drain(PATIENCE_SECONDS)
            holder = work(200, "hold_interpreter", started=str(tmp_path / "a"), seconds=4)
            bench.pool.submit([holder, *(work(number, "noop") for number in range(201, 205))])
            await bench.until(lambda: bool(bench.lost))
            assert bench.lost == [([], [201, 202, 203, 204], STUCK_REASON)]
            assert bench.pool.capacity == 0
            assert bench.pool.in_flight == 1
            await bench.until_reported(200)
            assert bench.output(200) is None
            await bench.run(300, "noop")
            assert not set(bench.outcomes) & {201, 202, 203, 204}

    run(scenario)


def test_async_tasks_run_side_by_side_within_their_slots(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(async_slots=3) as bench:
            for number in range(4):
                bench.send(number, "meet", started=str(tmp_path / str(number)), until=str(tmp_path / "go"))
            for number in range(3):
                await until_exists(tmp_path / str(number))
            await bench.run(10, "noop")
            assert not (tmp_path / "3").exists()
            (tmp_path / "go").touch()
            await bench.until_reported(*range(4))
            assert bench.lost == []

    run(scenario)


def test_every_async_task_may_have_started_when_the_executor_dies(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running() as bench:
            pid = await bench.run(1, "pid")
            for number in (2, 3):
                bench.send(number, "meet", started=str(tmp_path / str(number)), until=str(tmp_path / "never"))
                await until_exists(tmp_path / str(number))
            os.kill(pid, signal.SIGKILL)
            await bench.until_reported(2, 3)
            assert bench.lost == [([2, 3], [], "it was killed by SIGKILL")]

    run(scenario)


def test_the_start_of_a_timed_work_is_told_and_of_no_other() -> None:
    async def scenario() -> None:
        async with running() as bench:
            await bench.run(1, "pid")
            bench.pool.submit([Work(2, f"{APP}:pid", pack({}), ("run", "node", 1), True)])
            await bench.until_reported(2)
            assert bench.started == [2]

    run(scenario)


def test_kill_ends_the_executor_of_a_work_with_all_that_it_started(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running() as bench:
            program = psutil.Process(await bench.run(1, "child_group"))
            bench.send(2, "mark_and_wait", started=str(tmp_path / "a"), until=str(tmp_path / "never"))
            await until_exists(tmp_path / "a")
            assert not bench.pool.kill(99)
            assert bench.pool.kill(2)
            await bench.until_reported(2)
            assert bench.lost[0][0] == [2]
            psutil.wait_procs([program], timeout=PATIENCE_SECONDS)
            assert not program.is_running() or program.status() == psutil.STATUS_ZOMBIE

    run(scenario)


def test_an_executor_that_lost_its_channel_is_replaced() -> None:
    async def scenario() -> None:
        async with running() as bench:
            bench.send(1, "close_everything")
            await bench.until_reported(1)
            assert bench.lost[0][0] == [1]
            assert await bench.run(2, "add", a=1, b=1) == 2

    run(scenario)


def test_drain_waits_and_says_when_the_time_was_not_enough(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running() as bench:
            bench.send(1, "mark_and_wait", started=str(tmp_path / "a"), until=str(tmp_path / "go"))
            await until_exists(tmp_path / "a")
            assert not await bench.pool.drain(0.05)
            (tmp_path / "go").touch()
            assert await bench.pool.drain(PATIENCE_SECONDS)
            assert bench.reported(1)

    run(scenario)


def test_a_pool_that_winds_down_runs_what_has_begun_and_gives_back_the_rest(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running() as bench:
            bench.send(1, "mark_and_wait", started=str(tmp_path / "a"), until=str(tmp_path / "go"))
            await until_exists(tmp_path / "a")
            for number in range(2, 30):
                bench.send(number, "mark_and_wait", started=str(tmp_path / "b"), until=str(tmp_path / "go"))
            bench.pool.wind_down()
            bench.send(30, "add", a=1, b=1)
            await holds(lambda: len(_given_back(bench)) == 29)
            assert sorted(_given_back(bench)) == list(range(2, 31))
            assert not (tmp_path / "b").exists()
            (tmp_path / "go").touch()
            assert await bench.pool.drain(PATIENCE_SECONDS)
            assert bench.reported(1)
            assert [started for started, _, _ in bench.lost if started] == []

    run(scenario)


def _given_back(bench: Bench) -> list[int]:
    return [id_ for _, waiting, _ in bench.lost for id_ in waiting]


def test_stop_reports_what_it_cut_off(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running() as bench:
            bench.send(1, "mark_and_wait", started=str(tmp_path / "a"), until=str(tmp_path / "never"))
            await until_exists(tmp_path / "a")
            bench.send(2, "noop")
            await bench.pool.stop()
            assert [(started, waiting) for started, waiting, _ in bench.lost] == [([1], []), ([], [2])]
            assert bench.pool.in_flight == 0

    run(scenario)


def test_arguments_over_the_limit_are_refused_with_a_sentence() -> None:
    async def scenario() -> None:
        async with running() as bench:
            bench.pool.submit([Work(1, "noop", bytes(65 * 1024 * 1024), ("r", "n", 1)), work(2, "noop")])
            await bench.until_reported(1, 2)
            assert "the arguments are 68157440 bytes" in bench.failure(1)
            assert bench.output(2) is None

    run(scenario)


def test_an_app_that_cannot_be_loaded_is_fatal_with_one_sentence() -> None:
    async def scenario() -> None:
        async with running(apps=("workers.orderz",), count=2) as bench:
            await bench.until(lambda: bool(bench.fatal))
            assert len(bench.fatal) == 1
            assert bench.fatal[0].startswith("module 'workers.orderz' (-A workers.orderz) does not exist")
            assert bench.pool.deaths <= 2

    run(scenario)


def test_executors_log_as_the_settings_say_also_when_those_change(capfd: pytest.CaptureFixture[str]) -> None:
    loud = Settings(log=LogSection("debug", "json")).to_mapping()

    async def scenario() -> None:
        async with running() as bench:
            pid = await bench.run(1, "pid")
            await bench.run(2, "log", level="DEBUG", text="unheard")
            await bench.run(3, "log", level="INFO", text="first")
            bench.pool.take_over(loud)
            await bench.run(4, "log", level="DEBUG", text="second")
            os.kill(pid, signal.SIGKILL)
            await bench.until(lambda: bench.pool.deaths == 1 and bench.pool.ready_count == 1)
            await bench.run(5, "log", level="DEBUG", text="third")

    run(scenario)
    first, second, third = (line for line in capfd.readouterr().err.splitlines() if "executor_app" in line)
    assert "info executor_app: first run=run node=node-3" in first
    assert [json.loads(line)["message"] for line in (second, third)] == ["second", "third"]


def test_an_executor_that_is_starting_misses_no_change(capfd: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.pool.start()
        for level in ("error", "debug"):
            bench.pool.take_over(Settings(log=LogSection(level)).to_mapping())
        await bench.run(1, "log", level="DEBUG", text="heard")
        await bench.pool.stop()

    run(scenario)
    assert "debug executor_app: heard" in capfd.readouterr().err


def test_an_app_that_has_set_logging_up_for_itself_keeps_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "outspoken.py").write_text(
        f"import logging\nfrom {APP} import registry\nlogging.basicConfig(format='own: %(message)s', level='INFO')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)

    async def scenario() -> None:
        async with running(apps=("outspoken",)) as bench:
            bench.pool.take_over(Settings(log=LogSection("debug", "json")).to_mapping())
            await bench.run(1, "log", level="DEBUG", text="unheard")
            await bench.run(2, "log", level="INFO", text="heard")

    run(scenario)
    assert [line for line in capfd.readouterr().err.splitlines() if "heard" in line] == ["own: heard"]


def test_an_app_that_kills_its_process_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deadly.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)

    async def scenario() -> None:
        async with running(apps=("deadly",)) as bench:
            await bench.until(lambda: bool(bench.fatal))
            assert bench.fatal == ["the executors die while they import deadly: it was killed by SIGKILL"]

    run(scenario)


def test_an_app_that_breaks_later_is_tried_until_it_loads_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fault = tmp_path / "fault"
    (tmp_path / "fragile.py").write_text(
        f"import pathlib\nfrom {APP} import registry\n"
        f"if pathlib.Path({str(fault)!r}).exists():\n    raise RuntimeError('half deployed')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)

    async def scenario() -> None:
        async with running(apps=("fragile",)) as bench:
            pid = await bench.run(1, "pid")
            fault.touch()
            os.kill(pid, signal.SIGKILL)
            await holds(lambda: "RuntimeError: half deployed" in caplog.text)
            bench.send(2, "add", a=1, b=1)
            fault.unlink()
            await bench.until_reported(2)
            assert bench.output(2) == 2
            assert bench.fatal == []

    run(scenario)


@pytest.mark.parametrize("task", ["mark_and_wait", "hold_interpreter"])
def test_an_executor_dies_with_its_io_process(task: str, tmp_path: Path) -> None:
    started = tmp_path / "started"
    owner = subprocess.Popen([sys.executable, "-c", OWNER, task, str(started)], stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout is not None
        executor = psutil.Process(int(owner.stdout.readline()))
        asyncio.run(until_exists(started))
    finally:
        owner.kill()
        owner.communicate()
    psutil.wait_procs([executor], timeout=PATIENCE_SECONDS)
    assert not executor.is_running() or executor.status() == psutil.STATUS_ZOMBIE


OWNER = """
import asyncio, sys
from tests.integration.test_executor_process import running

async def main(task, started):
    async with running() as bench:
        print(await bench.run(1, "pid"), flush=True)
        rest = {"seconds": 600} if task == "hold_interpreter" else {"until": started + ".never"}
        bench.send(2, task, started=started, **rest)
        await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


def test_an_executor_carries_no_client_library() -> None:
    async def scenario() -> None:
        async with running() as bench:
            loaded = set(await bench.run(1, "modules"))
            assert not loaded & {"redis", "pika", "kombu", "prometheus_client", "tenacity", "pybreaker", "yaml"}

    run(scenario)


@pytest.mark.parametrize("node_types", [False, True])
def test_an_executor_looks_for_node_types_only_where_there_may_be_some(node_types: bool) -> None:
    async def scenario() -> None:
        async with running(node_types=node_types) as bench:
            loaded = set(await bench.run(1, "modules"))
            assert ("taskmesh.plugins.loading" in loaded) is node_types

    run(scenario)


def test_an_executor_has_no_more_memory_than_it_may() -> None:
    async def scenario() -> None:
        async with running(memory_mb=300) as bench:
            assert await bench.run(1, "allocate", mebibytes=50) == 50 * 1024 * 1024
            bench.send(2, "allocate", mebibytes=400)
            await bench.until_reported(2)
            assert bench.failure(2).startswith("MemoryError")
            assert await bench.run(3, "allocate", mebibytes=50) == 50 * 1024 * 1024
            assert bench.pool.deaths == 0

    run(scenario)


def test_without_a_limit_it_has_what_it_asks_for() -> None:
    async def scenario() -> None:
        async with running() as bench:
            assert await bench.run(1, "allocate", mebibytes=400) == 400 * 1024 * 1024

    run(scenario)
