"""Nodes that wait for their next attempt, and are woken to the millisecond when it is due.

The keeper does this for all nodes. The process that sets a short wait does it, too, since the keeper may look for new
timers less often than that. Waking a node twice does no harm: the script says so, and one message is published.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from taskmesh.clock import Clock
from taskmesh.dispatch.dispatcher import Dispatcher, Ready
from taskmesh.dispatch.plan import Plan
from taskmesh.errors import StoreUnavailableError
from taskmesh.store.aside import aside
from taskmesh.store.calls import NodeKey, Renewed, Word
from taskmesh.store.store import Store

WAKES_PER_TURN = 200
"""How many nodes are woken before the loop may do something else."""

AGAIN_SECONDS = 0.2
"""After a store that did not answer."""

EARLY_SECONDS = 0.05
"""After a node that is not due by the clock of the store, which is the one that counts."""

_log = logging.getLogger(__name__)


class Sleeper(NamedTuple):
    """A node that waits, and what its message needs."""

    plan: Plan
    key: NodeKey
    shard_key: str


class _Due(NamedTuple):
    at: float
    number: int
    sleeper: Sleeper


class AlarmClock:
    """Wakes nodes when they are due. One thread, on its loop; ``on_woken`` is told how many seconds late each was."""

    def __init__(
        self, store: Store, dispatcher: Dispatcher, clock: Clock, on_woken: Callable[[float], None] = lambda _: None
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._clock = clock
        self._on_woken = on_woken
        self._loop = asyncio.get_running_loop()
        self._heap: list[_Due] = []
        self._number = 0
        self._next: asyncio.TimerHandle | None = None
        self._waking: asyncio.Task[None] | None = None
        self._unsure = False

    def __len__(self) -> int:
        return len(self._heap)

    def set(self, sleeper: Sleeper, at: float) -> None:
        """Wake a node at a time of the monotonic clock."""
        self._number += 1
        heappush(self._heap, _Due(at, self._number, sleeper))
        if self._heap[0].number == self._number:
            self._wait()

    def clear(self) -> None:
        """Wake nobody any more."""
        self._heap.clear()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _wait(self) -> None:
        """For the first of all, unless some are being woken: after those."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._heap and self._waking is None:
            delay_seconds = max(0.0, self._heap[0].at - self._clock.monotonic())
            self._next = self._loop.call_later(delay_seconds, self._begin_to_ring)

    def _begin_to_ring(self) -> None:
        self._next = None
        self._waking = self._loop.create_task(self._ring())

    async def _ring(self) -> None:
        now = self._clock.monotonic()
        due: list[_Due] = []
        while self._heap and self._heap[0].at <= now and len(due) < WAKES_PER_TURN:
            due.append(heappop(self._heap))
        try:
            await self._wake(due)
        except StoreUnavailableError as error:
            _log.warning("%s; nodes that are due are woken as soon as it does", error)
            self._put_back(due, now + AGAIN_SECONDS)
        finally:
            # Whatever goes wrong with these must not keep the others asleep.
            self._waking = None
            self._wait()

    def _put_back(self, due: Sequence[_Due], at: float) -> None:
        # The store may have woken them: this time an answer that says so is no other process's doing.
        self._unsure = True
        for each in due:
            heappush(self._heap, each._replace(at=at))

    async def _wake(self, due: Sequence[_Due]) -> None:
        if not due:
            return
        nodes = [(each.sleeper.key, each.sleeper.plan.pool_of(each.sleeper.key.node)) for each in due]
        answers = await aside(self._store.wake_nodes, nodes)
        words = (Word.WOKEN, Word.AGAIN) if self._unsure else (Word.WOKEN,)
        self._unsure = False
        self._dispatcher.publish(
            [_ready(each.sleeper, answer) for each, answer in zip(due, answers, strict=True) if answer.word in words]
        )
        now = self._clock.monotonic()
        for each, answer in zip(due, answers, strict=True):
            if answer.word is Word.WOKEN:
                self._on_woken(max(0.0, now - each.at))
            elif answer.word is Word.EARLY:
                heappush(self._heap, each._replace(at=now + EARLY_SECONDS))


def _ready(sleeper: Sleeper, answer: Renewed) -> Ready:
    run_id, node = sleeper.key
    return Ready(sleeper.plan, run_id, node, sleeper.shard_key, answer.attempt, answer.token, elsewhere=True)
