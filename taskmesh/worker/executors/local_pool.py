"""Runs user code in threads of this process: for embedded runs, scripts and tests."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue

from taskmesh.worker.channels.protocol import Outcome, Work
from taskmesh.worker.executors.invoke import Invoker

ABANDONED_REASON = "it was given up"
STOPPED_REASON = "the worker stopped"


@dataclass(frozen=True, slots=True)
class LocalEvents:
    """What a pool calls, always on its loop; as ``PoolEvents`` of executor processes."""

    on_started: Callable[[int], None]
    on_outcomes: Callable[[Sequence[Outcome]], None]
    on_lost: Callable[[Sequence[int], Sequence[int], str], None]


class LocalPool:
    """A work pool without processes of its own. A task that crashes takes the whole process with it.

    A function that is killed cannot be stopped: it goes on in its thread, which another one replaces, and nobody hears
    what becomes of it. The threads are daemons, so such a function does not keep the process from ending.
    """

    def __init__(self, invoker: Invoker, tasks: Collection[str], threads: int, events: LocalEvents) -> None:
        self._invoker = invoker
        self._tasks = tasks
        self._threads = threads
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._running: set[int] = set()
        self._coroutines: dict[int, asyncio.Task[None]] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._winding_down = False
        for _ in range(threads):
            self._start_thread()

    @property
    def tasks(self) -> Collection[str]:
        return self._tasks

    @property
    def capacity(self) -> int:
        return max(0, self.window - len(self._running))

    @property
    def window(self) -> int:
        return self._threads

    @property
    def ready_count(self) -> int:
        return 1

    @property
    def deaths(self) -> int:
        return 0

    def submit(self, works: Sequence[Work]) -> None:
        if self._winding_down:
            self._loop.call_soon(self._give_back, [work.id for work in works])
            return
        for work in works:
            self._running.add(work.id)
            self._idle.clear()
            if self._invoker.is_async(work):
                task = self._coroutines[work.id] = self._loop.create_task(self._run_async(work))
                task.add_done_callback(partial(self._end_coroutine, work.id))
            else:
                self._queue.put(work)

    def kill(self, work_id: int) -> bool:
        if work_id not in self._running:
            return False
        coroutine = self._coroutines.get(work_id)
        if coroutine is not None:
            coroutine.cancel()
        else:
            self._start_thread()
        self._forget(work_id)
        self._loop.call_soon(self._events.on_lost, [work_id], [], ABANDONED_REASON)
        return True

    @property
    def oldest_waiting(self) -> None:
        """Nothing waits: no more is wanted than there are threads, and coroutines begin at once."""

    def give_back(self) -> None:
        """There is nothing to give back, see ``oldest_waiting``."""

    def wind_down(self) -> None:
        """Start no other function; coroutines have begun with their submission."""
        self._winding_down = True
        waiting: list[int] = []
        with contextlib.suppress(Empty):
            while (work := self._queue.get_nowait()) is not None:
                waiting.append(work.id)
        self._give_back(waiting)

    def cancel(self, work_id: int) -> None:
        self._invoker.pulse.cancel(work_id)

    async def drain(self, timeout_seconds: float) -> bool:
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self, grace_seconds: float = 0.0) -> None:
        """Ends no thread by force, so there is no grace to wait for."""
        for task in list(self._coroutines.values()):
            task.cancel()
        with contextlib.suppress(Empty):
            while True:
                self._queue.get_nowait()
        for _ in range(self._threads):
            self._queue.put(None)

    def _start_thread(self) -> None:
        threading.Thread(target=self._serve, name="taskmesh-task", daemon=True).start()

    def _serve(self) -> None:
        while (work := self._queue.get()) is not None and self._run(work):
            pass

    def _run(self, work: Work) -> bool:
        """False when the work was given up meanwhile, so that this thread has been replaced."""
        if work.timed:
            self._tell(self._events.on_started, work.id)
        outcome = self._invoker.run(work)
        heeded = work.id in self._running
        self._tell(self._report, outcome)
        return heeded

    def _tell(self, call: Callable[..., None], about: object) -> None:
        # The loop is closed when the process stops without waiting for this task; another attempt will follow.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, about)

    async def _run_async(self, work: Work) -> None:
        if work.timed:
            self._events.on_started(work.id)
        self._report(await self._invoker.run_async(work))

    def _end_coroutine(self, work_id: int, _: asyncio.Task[None]) -> None:
        del self._coroutines[work_id]

    def _report(self, outcome: Outcome) -> None:
        if outcome.id in self._running:
            self._forget(outcome.id)
            self._events.on_outcomes([outcome])

    def _give_back(self, work_ids: Sequence[int]) -> None:
        if work_ids:
            self._events.on_lost([], work_ids, STOPPED_REASON)
        for work_id in work_ids:
            self._forget(work_id)

    def _forget(self, work_id: int) -> None:
        self._running.discard(work_id)
        if not self._running:
            self._idle.set()
