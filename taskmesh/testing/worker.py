"""The workers of a virtual mesh: sessions as they are, each an actor on the world's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from taskmesh.app.assembly import Foundation
from taskmesh.app.session import Identity, Session
from taskmesh.broker.factory import OnFatal
from taskmesh.broker.settings import BrokerSettings
from taskmesh.errors import TaskmeshError
from taskmesh.testing.actors import Actor
from taskmesh.testing.cast import Cast
from taskmesh.testing.faults import Fault, Faults, Kind
from taskmesh.testing.loop import by_appointment
from taskmesh.testing.pool import PoolParts, VirtualPool
from taskmesh.testing.road import Road, RoadConsumer, RoadPublisher
from taskmesh.testing.threads import TaskThreads
from taskmesh.testing.world import World
from taskmesh.worker.engine.engine import Engine
from taskmesh.worker.executors.invoke import Invoker
from taskmesh.worker.executors.large_outputs import LargeOutputs
from taskmesh.worker.executors.local_pool import LocalEvents
from taskmesh.worker.executors.pulse import Pulse


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What all workers of a mesh share."""

    world: World
    foundation: Foundation
    road: Road
    threads: TaskThreads
    cast: Cast
    faults: Faults


class VirtualWorker:
    """One worker. On the world's loop."""

    def __init__(self, name: str, pools: Sequence[str], parts: WorkerParts, on_fault: Callable[[Fault], None]) -> None:
        self.actor = Actor(name)
        self.pools = tuple(pools)
        self._parts = parts
        self._on_fault = on_fault
        self._consumer: RoadConsumer | None = None
        self._pool: VirtualPool | None = None
        self._start: asyncio.Task[None] | None = None

    @property
    def at_work(self) -> int:
        """How many attempts have begun here and not ended."""
        return self._pool.at_work if self._pool is not None else 0

    def begin(self) -> None:
        """To be called in its actor."""
        session = Session(
            self._parts.foundation,
            Identity(self.actor.name, self.pools),
            self._open_pool,
            self._give_up,
            self._open_publisher,
            self._open_consumer,
        )
        self._start = asyncio.get_running_loop().create_task(session.start())
        self._start.add_done_callback(_raise_fault)

    def renew(self, seconds: float) -> None:
        """Let its lease be in force over a time that is passed over, and as long as ever after that."""
        housekeeping = self._parts.foundation.housekeeping
        lease_seconds = seconds + self._parts.foundation.settings.worker.lease_seconds
        housekeeping.renew_holder(self.actor.name, lease_seconds)
        housekeeping.serve_pools(self.actor.name, self.pools, lease_seconds)

    def pause(self, seconds: float) -> None:
        """Stand still, so that the broker takes it for gone, too."""
        self.actor.hold()
        self._cut_off()
        by_appointment(self._parts.world.loop.call_later, seconds, self._go_on)

    def die(self) -> None:
        self.actor.kill()
        self._cut_off()

    def _go_on(self) -> None:
        self.actor.let_go()
        if self._consumer is not None:
            self._consumer.resume()

    def _cut_off(self) -> None:
        if self._consumer is not None:
            self._consumer.cut_off()

    def _open_pool(self, engine: Engine) -> VirtualPool:
        parts, foundation = self._parts, self._parts.foundation
        pulse = Pulse(
            lambda beats: parts.world.call_in(self.actor, by_appointment, engine.on_beats, beats), foundation.clock
        )
        limit = foundation.settings.limits.max_value_bytes
        large = LargeOutputs(foundation.payloads, foundation.settings.payload.claim_check_bytes)
        invoker = Invoker(parts.cast, limit, foundation.clock, pulse, large)
        pool_parts = PoolParts(
            parts.world.loop, self.actor, parts.threads, invoker, parts.cast, parts.faults, self._on_fault
        )
        self._pool = VirtualPool(pool_parts, LocalEvents(engine.on_started, engine.on_outcomes, engine.on_lost))
        return self._pool

    def _open_publisher(self, settings: BrokerSettings, on_fatal: OnFatal) -> RoadPublisher:
        return RoadPublisher(self._parts.road)

    def _open_consumer(
        self, settings: BrokerSettings, pools: Sequence[str], holder: str, on_fatal: OnFatal, prefetch: int
    ) -> RoadConsumer:
        self._consumer = RoadConsumer(self._parts.road, self.actor, pools)
        return self._consumer

    def _give_up(self, error: TaskmeshError) -> None:
        raise error


class Crew:
    """All workers of a mesh: one, and another one wherever that is lost or paused. On the world's loop."""

    def __init__(self, parts: WorkerParts) -> None:
        self._parts = parts
        self._workers: list[VirtualWorker] = []

    @property
    def at_work(self) -> int:
        return sum(each.at_work for each in self._present)

    def serve(self, pools: Sequence[str]) -> None:
        """Have a worker for these pools, where none is there for all of them."""
        if not any(set(pools) <= set(each.pools) for each in self._present):
            self._begin(pools)

    def renew(self, seconds: float) -> None:
        for each in self._present:
            each.renew(seconds)

    @property
    def _present(self) -> list[VirtualWorker]:
        return [each for each in self._workers if not each.actor.is_dead and not each.actor.is_held]

    def _begin(self, pools: Sequence[str]) -> None:
        number = len(self._workers) + 1
        worker = VirtualWorker(
            f"{self._parts.foundation.settings.namespace}-worker-{number}",
            pools,
            self._parts,
            lambda fault: self._befall(worker, fault),
        )
        self._workers.append(worker)
        self._parts.world.loop.inside(worker.actor, worker.begin)

    def _befall(self, worker: VirtualWorker, fault: Fault) -> None:
        if fault.kind is Kind.WORKER_PAUSES:
            worker.pause(fault.seconds)
        else:
            worker.die()
        self.serve(worker.pools)


def _raise_fault(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.result()
