"""The pool of a virtual worker: each work goes as its turn says, and faults befall it."""

from __future__ import annotations

import contextvars
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

from taskmesh.testing.actors import Actor
from taskmesh.testing.cast import Cast
from taskmesh.testing.faults import Fault, Faults, Kind
from taskmesh.testing.loop import VirtualLoop, by_appointment
from taskmesh.testing.threads import Job, TaskThreads
from taskmesh.worker.channels.protocol import Outcome, Work
from taskmesh.worker.executors.invoke import Invoker
from taskmesh.worker.executors.local_pool import ABANDONED_REASON, LocalEvents

WINDOW = 1024
"""How many nodes may run at the same virtual time."""

DIED = "it was killed by signal 9, as the test wanted it"


@dataclass(frozen=True, slots=True)
class PoolParts:
    """What a pool works with. ``on_fault`` is told what befalls the worker itself, outside of it."""

    loop: VirtualLoop
    actor: Actor
    threads: TaskThreads
    invoker: Invoker
    cast: Cast
    faults: Faults
    on_fault: Callable[[Fault], None]


class VirtualPool:
    """A ``WorkPool`` in which works take virtual time where a stub says so, and none otherwise."""

    deaths = 0
    ready_count = 1
    window = WINDOW
    oldest_waiting = None

    def __init__(self, parts: PoolParts, events: LocalEvents) -> None:
        self._parts = parts
        self._events = events
        self._at_work: dict[int, float] = {}
        """When each work has begun."""

    @property
    def at_work(self) -> int:
        """How many works have begun and not ended."""
        return len(self._at_work)

    @property
    def tasks(self) -> Collection[str]:
        return self._parts.cast

    @property
    def capacity(self) -> int:
        return WINDOW - len(self._at_work)

    def submit(self, works: Sequence[Work]) -> None:
        for work in works:
            self._at_work[work.id] = self._parts.loop.time()
            # The limits of an attempt, and the end of one that takes its time, are what the time moves on for.
            self._parts.loop.call_soon(by_appointment, self._begin, work)

    def kill(self, work_id: int) -> bool:
        if work_id not in self._at_work:
            return False
        del self._at_work[work_id]
        self._parts.loop.call_soon(self._events.on_lost, [work_id], [], ABANDONED_REASON)
        return True

    def give_back(self) -> None:
        """Nothing waits for room."""

    def wind_down(self) -> None:
        """No virtual worker is drained: it ends with its world, or dies."""

    def cancel(self, work_id: int) -> None:
        self._parts.invoker.pulse.cancel(work_id)

    async def drain(self, timeout_seconds: float) -> bool:
        return not self._at_work

    async def stop(self, grace_seconds: float = 0.0) -> None:
        """There is no process to end; who is at work goes on, and nobody hears of it."""

    def _begin(self, work: Work) -> None:
        if work.id not in self._at_work:
            return
        _, node, _ = work.context
        turn, fault = self._parts.cast.turn(work.task, node), self._parts.faults.of_attempt(work.task)
        if work.timed:
            self._events.on_started(work.id)
        job = Job(work, turn, self._parts.invoker, partial(self._back, work.id, fault))
        if not turn.takes_seconds:
            self._perform(job, fault)
        elif turn.takes_seconds < math.inf:
            self._parts.loop.call_later(turn.takes_seconds, self._perform, job, fault)

    def _perform(self, job: Job, fault: Fault | None) -> None:
        if job.work.id not in self._at_work:
            return
        if fault is None or not fault.is_before:
            self._parts.threads.put(job)
        elif fault.kind is Kind.EXECUTOR_DIES:
            self._die(job.work.id)
        else:
            # Outside of the worker, which has no time left to do it itself.
            self._parts.loop.call_soon(self._parts.on_fault, fault, context=contextvars.Context())

    def _back(self, work_id: int, fault: Fault | None, outcome: Outcome) -> None:
        """A function has ended. In no actor: the worker may be paused, or dead, when it hears of it."""
        if fault is not None and fault.kind is not Kind.EXECUTOR_DIES:
            self._parts.on_fault(fault)
        dies = fault is not None and fault.kind is Kind.EXECUTOR_DIES
        end = partial(self._die, work_id) if dies else partial(self._end, outcome)
        self._parts.loop.inside(self._parts.actor, end)

    def _end(self, outcome: Outcome) -> None:
        begun_at = self._at_work.pop(outcome.id, None)
        if begun_at is not None:
            seconds = self._parts.loop.time() - begun_at
            self._events.on_outcomes([outcome._replace(started_at=begun_at, duration_seconds=seconds)])

    def _die(self, work_id: int) -> None:
        if work_id in self._at_work:
            del self._at_work[work_id]
            self._events.on_lost([work_id], [], DIED)
