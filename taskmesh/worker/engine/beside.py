"""What the I/O process decides over values that were put aside: in threads, beside its loop, few at a time.

A node that is decided here is claimed and in flight, as one that runs. Should its attempt be taken away meanwhile,
what was found out is dropped; so is a telling that fails: the keeper has it done again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol, TypeVar

from taskmesh.dispatch.advance import Advancer
from taskmesh.dispatch.children.parents import Ended, Parents
from taskmesh.dispatch.plan import TO_PARENT
from taskmesh.errors import StoreUnavailableError, UnavailableError
from taskmesh.store.aside import aside_in
from taskmesh.store.calls import NodeKey
from taskmesh.worker.channels.protocol import Failure
from taskmesh.worker.engine.attempt import Attempt, InFlight
from taskmesh.worker.engine.parts import Parts
from taskmesh.worker.engine.retrying import next_delay_seconds
from taskmesh.worker.engine.settling import Settler

AT_ONCE = 2
"""What is fetched lies in memory, decoded; so not much more than that many times ``large_values.FETCHED_BYTES``."""

AGAIN_SECONDS = 0.5
"""After a store that did not answer."""

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Call(Protocol):
    """Makes a blocking call in a thread."""

    def __call__(self, call: Callable[[], T], /) -> Awaitable[T]: ...


class Room:
    """Threads of their own: a place that does not answer must keep no lease waiting. One loop."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._threads = ThreadPoolExecutor(AT_ONCE, "taskmesh-beside")

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[Call]:
        """Wait for a turn; gives what makes a call in a thread."""
        async with self._turns:
            yield partial(aside_in, self._threads)


class Tellings:
    """Tells parents of the ends of their children, where something is to be put aside for them. One loop."""

    def __init__(self, parts: Parts, room: Room) -> None:
        self._parts = parts
        self._room = room
        self._advancer = Advancer(parts.store, Parents(parts.store, parts.large, put_off=None))
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, ended: Ended) -> None:
        """Tell of one; of one that is being told of already, that is enough."""
        if ended.run_id not in self._tasks:
            task = asyncio.get_running_loop().create_task(self._tell(ended))
            self._tasks[ended.run_id] = task
            task.add_done_callback(lambda _: self._tasks.pop(ended.run_id, None))

    async def _tell(self, ended: Ended) -> None:
        try:
            async with self._room.turn() as call:
                told = await call(partial(self._advancer.resume, ended.plan, NodeKey(ended.run_id, TO_PARENT), ""))
            self._parts.dispatcher.publish(told.ready)
        except UnavailableError as error:
            _log.warning("the parent of run %s is told later: %s", ended.run_id, error, extra={"run": ended.run_id})
        except Exception:
            _log.exception("the parent of run %s could not be told", ended.run_id, extra={"run": ended.run_id})


class Beside:
    """Decides over claimed nodes. One loop; ``wake`` has the engine settle what has ended."""

    def __init__(self, room: Room, in_flight: InFlight, settler: Settler, wake: Callable[[], None]) -> None:
        self._room = room
        self._in_flight = in_flight
        self._settler = settler
        self._wake = wake
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(self, attempt: Attempt, decide: Callable[[], T], then: Callable[[T], None]) -> None:
        """Call ``decide`` in a thread, and ``then`` on the loop with what it returned.

        An error of either fails the attempt, which may be followed by another one.
        """
        task = asyncio.get_running_loop().create_task(self._run(attempt, decide, then))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, attempt: Attempt, decide: Callable[[], T], then: Callable[[T], None]) -> None:
        async with self._room.turn() as call:
            while self._has(attempt):
                try:
                    found = await call(decide)
                    if self._has(attempt):
                        then(found)
                    break
                except StoreUnavailableError:
                    await asyncio.sleep(AGAIN_SECONDS)
                except Exception as error:
                    # Whatever is wrong with one node, it must not stop the others.
                    self._fail(attempt, error)
        self._wake()

    def _has(self, attempt: Attempt) -> bool:
        return self._in_flight.by_id(attempt.id) is attempt

    def _fail(self, attempt: Attempt, error: Exception) -> None:
        if not self._has(attempt):
            return
        failure = Failure(type(error).__name__, str(error), "")
        delay_seconds = next_delay_seconds(attempt, failure) if isinstance(error, UnavailableError) else None
        over = attempt.failed(failure) if delay_seconds is None else attempt.postponed(failure, delay_seconds)
        self._settler.end(attempt, over)
