"""The threads in which user code runs while the virtual time stands still: in their own, real time."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import NamedTuple

from taskmesh.testing.calls import Turn
from taskmesh.testing.cast import TURN
from taskmesh.testing.world import World
from taskmesh.worker.channels.protocol import Outcome, Work
from taskmesh.worker.executors.invoke import Invoker

END_SECONDS = 10.0


class Job(NamedTuple):
    """A work, how it goes, and who hears of its end, on the world's loop."""

    work: Work
    turn: Turn
    invoker: Invoker
    then: Callable[[Outcome], None]


class TaskThreads:
    """Runs jobs in the order in which they come, ``count`` at once. On the loop, but for the threads themselves."""

    def __init__(self, world: World, count: int) -> None:
        self._world = world
        self._count = count
        self._waiting: deque[Job] = deque()
        self._running: set[Job] = set()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads = 0
        self._lane: _AsyncLane | None = None

    def put(self, job: Job) -> None:
        self._waiting.append(job)

    def at_work(self, blocked: int) -> list[str]:
        """The tasks of the jobs that have not ended; so many wait for something in the mesh, and let others go first.

        Only here jobs begin: when all else is at rest. So they meet the same, each time that a test runs.
        """
        self._feed(blocked)
        return [job.work.task for job in (*self._running, *self._waiting)]

    def close(self) -> None:
        for _ in range(self._threads):
            self._jobs.put(None)
        if self._lane is not None:
            self._lane.close()

    def _feed(self, blocked: int) -> None:
        while self._waiting and len(self._running) - blocked < self._count:
            job = self._waiting.popleft()
            if self._lane is None and job.invoker.is_async(job.work):
                self._lane = _AsyncLane()
            self._running.add(job)
            self._jobs.put(job)
            if len(self._running) > self._threads:
                self._threads += 1
                threading.Thread(target=self._serve, name="taskmesh-task", daemon=True).start()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            TURN.set(job.turn)
            self._world.call(self._back, job, self._run(job))

    def _run(self, job: Job) -> Outcome:
        if self._lane is None or not job.invoker.is_async(job.work):
            return job.invoker.run(job.work)
        return asyncio.run_coroutine_threadsafe(job.invoker.run_async(job.work), self._lane.loop).result()

    def _back(self, job: Job, outcome: Outcome) -> None:
        self._running.remove(job)
        job.then(outcome)


class _AsyncLane:
    """The loop that all async tasks share, in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="taskmesh-async-tasks", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(END_SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self.loop.close()
