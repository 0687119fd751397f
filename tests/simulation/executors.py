"""Simulated executors: user code takes its time, ends as planned, and goes on while its I/O process is held still."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from taskmesh.errors import TaskCancelledError
from taskmesh.model.policies import exception_name
from taskmesh.wire import pack, unpack
from taskmesh.worker.channels.protocol import Failure, Outcome, Work
from tests.simulation.loop import Actor, SimLoop
from tests.simulation.numbers import output_of
from tests.simulation.works import Conduct

REASON = "it was killed by signal 9"
KILL_SECONDS = 0.01


class Ward(Protocol):
    """Who is told what user code does, and says how it is to behave."""

    def conduct_of(self, run_id: str, node: str) -> Conduct: ...

    def on_begin(self, actor: str, work: Work) -> int:
        """Returns how often this node has begun before."""


class Reports(Protocol):
    """The engine, as a pool sees it."""

    def on_started(self, attempt_id: int) -> None: ...

    def on_beats(self, beats: Sequence[tuple[int, bytes]]) -> None: ...

    def on_outcomes(self, outcomes: Sequence[Outcome]) -> None: ...

    def on_lost(self, started: Sequence[int], waiting: Sequence[int], reason: str) -> None: ...


class SimPool:
    """A ``WorkPool`` that runs up to ``window`` works at once."""

    tasks = frozenset({"task"})
    deaths = 0
    ready_count = 1

    def __init__(self, loop: SimLoop, actor: Actor, ward: Ward, reports: Reports, window: int) -> None:
        self.window = window
        self._loop = loop
        self._actor = actor
        self._ward = ward
        self._reports = reports
        self._running: dict[int, Work] = {}
        self._backlog: deque[Work] = deque()
        self._is_winding_down = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def capacity(self) -> int:
        return max(0, self.window - len(self._running) - len(self._backlog))

    def submit(self, works: Sequence[Work]) -> None:
        self._backlog.extend(works)
        if works:
            self._idle.clear()
        if self._is_winding_down:
            self._loop.call_soon(self.give_back)
        self._feed()

    def kill(self, work_id: int) -> bool:
        if work_id in self._running:
            self._loop.outside(KILL_SECONDS, self._across, self._crash, self._running[work_id])
        return work_id in self._running

    def cancel(self, work_id: int) -> None:
        """Its code hears of it, and ends."""
        if work_id in self._running:
            failure = Failure(exception_name(TaskCancelledError), "it should end", "")
            self._loop.outside(KILL_SECONDS, self._across, self._end, self._running[work_id], b"", failure)

    async def drain(self, timeout_seconds: float) -> bool:
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    @property
    def oldest_waiting(self) -> int | None:
        return self._backlog[0].id if self._backlog else None

    def wind_down(self) -> None:
        self._is_winding_down = True
        self.give_back()

    async def stop(self, grace_seconds: float = 2.0) -> None:
        self._is_winding_down = True
        started = list(self._running)
        self._running.clear()
        self._lose(started, [])
        self.give_back()

    def give_back(self) -> None:
        waiting = [work.id for work in self._backlog]
        self._backlog.clear()
        self._lose([], waiting)

    def _feed(self) -> None:
        while self._backlog and len(self._running) < self.window and not self._is_winding_down:
            work = self._backlog.popleft()
            self._running[work.id] = work
            run_id, node, _ = work.context
            conduct, before = self._ward.conduct_of(run_id, node), self._ward.on_begin(self._actor.name, work)
            if work.timed:
                self._across(self._reports.on_started, work.id)
            self._loop.outside(conduct.seconds / 2, self._across, self._beat, work)
            if before < conduct.crashes:
                self._loop.outside(conduct.seconds, self._across, self._crash, work)
            else:
                self._loop.outside(conduct.seconds, self._across, self._finish, work, before < conduct.failures)

    def _across(self, callback: Callable[..., None], *args: object) -> None:
        self._loop.inside(self._actor, callback, *args)

    def _finish(self, work: Work, fails: bool) -> None:
        failure = Failure("ValueError", "as planned", "") if fails else None
        self._end(work, b"" if fails else pack({"value": output_of(_arguments(work))}), failure)

    def _end(self, work: Work, output: bytes, failure: Failure | None) -> None:
        if self._running.pop(work.id, None) is None:
            return
        self._feed()
        self._reports.on_outcomes([Outcome(work.id, output, failure, 0.0, 0.0)])
        self._tell_idle()

    def _beat(self, work: Work) -> None:
        if work.id in self._running:
            self._reports.on_beats([(work.id, pack(work.id))])

    def _crash(self, work: Work) -> None:
        """The executor dies; what it had not begun goes back as well, now and then."""
        if self._running.pop(work.id, None) is None:
            return
        waiting = [self._backlog.pop().id] if self._backlog and work.id % 2 else []
        self._lose([work.id], waiting)
        self._feed()

    def _lose(self, started: Sequence[int], waiting: Sequence[int]) -> None:
        if started or waiting:
            self._reports.on_lost(started, waiting, REASON)
        self._tell_idle()

    def _tell_idle(self) -> None:
        if not self._running and not self._backlog:
            self._idle.set()


def _arguments(work: Work) -> Mapping[str, object]:
    arguments = unpack(work.arguments)
    assert isinstance(arguments, dict)
    return arguments
