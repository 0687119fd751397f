"""Runs user code in threads of this process: for embedded runs, scripts and tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from taskmesh.worker.invoke import Invoker
from taskmesh.worker.protocol import Outcome, Work


class LocalPool:
    """A work pool without processes of its own. A task that crashes takes the whole process with it."""

    def __init__(
        self,
        invoker: Invoker,
        tasks: Collection[str],
        threads: int,
        on_outcomes: Callable[[Sequence[Outcome]], None],
    ) -> None:
        self._invoker = invoker
        self._tasks = tasks
        self._threads = threads
        self._on_outcomes = on_outcomes
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(threads, "taskmesh-task")
        self._running: set[int] = set()
        self._coroutines: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()

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
        for work in works:
            self._running.add(work.id)
            self._idle.clear()
            if self._invoker.is_async(work):
                task = self._loop.create_task(self._run_async(work))
                self._coroutines.add(task)
                task.add_done_callback(self._coroutines.discard)
            else:
                self._executor.submit(self._run, work)

    async def drain(self, timeout_seconds: float) -> bool:
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        for task in list(self._coroutines):
            task.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _run(self, work: Work) -> None:
        outcome = self._invoker.run(work)
        # The loop is closed when the process stops without waiting for this task; another attempt will follow.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._report, outcome)

    async def _run_async(self, work: Work) -> None:
        self._report(await self._invoker.run_async(work))

    def _report(self, outcome: Outcome) -> None:
        self._running.discard(outcome.id)
        if not self._running:
            self._idle.set()
        self._on_outcomes([outcome])
