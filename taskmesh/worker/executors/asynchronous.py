"""Runs the async tasks of an executor on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Sequence

from taskmesh.worker.channels.channel import BlockingChannel
from taskmesh.worker.channels.protocol import Kind, Work
from taskmesh.worker.executors.invoke import Invoker


class AsyncLane:
    """An event loop on a thread of its own, started with the first async task."""

    def __init__(self, invoker: Invoker, channel: BlockingChannel) -> None:
        self._invoker = invoker
        self._channel = channel
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: set[asyncio.Task[None]] = set()

    def start(self, works: Sequence[Work]) -> None:
        """Begin all of them; called from the channel's thread only."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._run_loop, args=(self._loop,), name="async-tasks", daemon=True).start()
        self._loop.call_soon_threadsafe(self._begin, works)

    def _run_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        while True:
            # asyncio lets these two out of the loop when a task of the user's own making raises them.
            with contextlib.suppress(SystemExit, KeyboardInterrupt):
                loop.run_forever()

    def _begin(self, works: Sequence[Work]) -> None:
        for work in works:
            task = asyncio.ensure_future(self._run(work))
            # The loop itself holds its tasks weakly.
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _run(self, work: Work) -> None:
        if work.timed:
            self._channel.send((Kind.STARTED, work.id))
        self._channel.send((Kind.OUTCOME, await self._invoker.run_async(work)))
