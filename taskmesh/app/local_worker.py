"""A worker inside this process: one thread for the loop, some for the tasks. For embedded runs, scripts and tests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Sequence

from taskmesh.app.assembly import Foundation
from taskmesh.app.session import Identity, Session
from taskmesh.errors import UnavailableError, UsageError
from taskmesh.plugins.catalog import NodeTypes
from taskmesh.tasks.registry import Registry
from taskmesh.worker.engine.engine import Engine
from taskmesh.worker.executors.invoke import Invoker, current
from taskmesh.worker.executors.large_outputs import LargeOutputs
from taskmesh.worker.executors.local_pool import LocalEvents, LocalPool
from taskmesh.worker.executors.pulse import Pulse
from taskmesh.worker.supervision.child import new_holder_id

START_SECONDS = 30.0
DRAIN_SECONDS = 5.0

_log = logging.getLogger(__name__)


class LocalWorker:
    """Runs the nodes of ``registry``'s tasks until it is stopped. ``pools`` are consumed beside the tasks' own.

    With ``watch_flows`` it also registers the flow files that the settings name.
    """

    def __init__(
        self,
        foundation: Foundation,
        registry: Registry,
        threads: int,
        pools: Sequence[str] = (),
        watch_flows: bool = False,
    ) -> None:
        if foundation.settings.worker.executor_memory_mb:
            raise UsageError(
                "worker.executor_memory_mb bounds executor processes, and a worker inside a process has none; set it "
                "to 0, or use `taskmesh worker`"
            )
        if watch_flows and not foundation.settings.flows.paths:
            raise UsageError("there are no flow files to watch; name some in flows.paths, or leave watch_flows out")
        self._foundation = foundation
        self._large = LargeOutputs(foundation.payloads, foundation.settings.payload.claim_check_bytes)
        self._registry = registry
        self._threads = threads
        self._watches_flows = watch_flows
        self._pools = _pools(registry, (*foundation.settings.worker.pools, *pools))
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()
        self._begun = threading.Event()
        self._fault: str | None = None
        self._thread = threading.Thread(target=self._run, name="taskmesh-worker", daemon=True)

    def start(self) -> None:
        """Returns when the worker consumes.

        :raises UnavailableError: the servers refuse, or do not answer in time.
        """
        self._thread.start()
        if not self._begun.wait(START_SECONDS):
            self.stop()
            raise UnavailableError(f"the worker in this process was not ready after {START_SECONDS:g} s")
        if self._fault is not None:
            self._thread.join(DRAIN_SECONDS)
            raise UnavailableError(self._fault)

    def stop(self) -> None:
        """Finish what runs, within some seconds, and end.

        :raises UnavailableError: the worker had died before; its nodes are left to others.
        """
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(DRAIN_SECONDS * 3)
        if self._fault is not None:
            raise UnavailableError(self._fault)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        identity = Identity(new_holder_id(), self._pools)
        session = Session(self._foundation, identity, self._pool, self._give_up)
        watching: asyncio.Task[None] | None = None
        try:
            await session.start()
            watching = self._watch_flows(session)
            await self._await_readiness(session)
            await self._ending.wait()
            await session.drain(DRAIN_SECONDS)
        except Exception as error:
            # Left alone it would end the thread, and who waits for the start would hear of it only by the time.
            self._give_up(error)
        finally:
            if watching is not None:
                watching.cancel()
            await session.close()

    def _watch_flows(self, session: Session) -> asyncio.Task[None] | None:
        """Register flow files from now on, where that is wanted."""
        if not self._watches_flows:
            return None
        # Not needed, and not loaded, anywhere else.
        from taskmesh.app.flow_watch import FlowWatch

        return self._loop.create_task(FlowWatch.of(self._foundation, self._registry, session.tally).run())

    async def _await_readiness(self, session: Session) -> None:
        while session.missing and not self._ending.is_set():
            await asyncio.sleep(0.005)
        self._begun.set()

    def _pool(self, engine: Engine) -> LocalPool:
        settings = self._foundation.settings
        own = {name: task for name in self._registry.names() if (task := self._registry.find(name)) is not None}
        tasks = {**own, **NodeTypes(lambda: settings).executable(current)}
        limits = settings.limits
        pulse = Pulse(lambda beats: self._tell(engine.on_beats, beats), self._foundation.clock)
        invoker = Invoker(tasks, limits.max_value_bytes, self._foundation.clock, pulse, self._large)
        events = LocalEvents(engine.on_started, engine.on_outcomes, engine.on_lost)
        return LocalPool(invoker, frozenset(tasks), self._threads, events)

    def _tell(self, call: Callable[[Sequence[tuple[int, bytes]]], None], beats: Sequence[tuple[int, bytes]]) -> None:
        # The loop is closed when the process stops without waiting for this task; another attempt will follow.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, beats)

    def _give_up(self, error: Exception) -> None:
        if self._fault is None:
            self._fault = str(error)
            # Who waits for the start is told by `start`.
            if self._begun.is_set():
                _log.error("the worker in this process has ended: %s", error)
        self._ending.set()
        self._begun.set()


def _pools(registry: Registry, others: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({task.pool for task in registry} | set(others)))
