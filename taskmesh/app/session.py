"""One life of an I/O process: connect, hold a lease, run nodes, keep house, drain, leave."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from taskmesh.app.assembly import Foundation
from taskmesh.broker.factory import open_consumer, open_publisher
from taskmesh.broker.protocol import LinkState
from taskmesh.dispatch.dispatcher import Dispatcher
from taskmesh.dispatch.waking import AlarmClock
from taskmesh.errors import StoreRefusedError, StoreUnavailableError, TaskmeshError
from taskmesh.keeper.keeper import Keeper, KeeperParts
from taskmesh.keeper.timers import Timers
from taskmesh.observability.tally import Tally
from taskmesh.resilience.backoff import full_jitter
from taskmesh.store.inspection import refuse_unsafe
from taskmesh.worker.dead_letters import DeadLetters
from taskmesh.worker.engine import Engine
from taskmesh.worker.letter_collector import LetterCollector
from taskmesh.worker.parts import Parts
from taskmesh.worker.prefetch import Prefetch
from taskmesh.worker.quarantine import Quarantine
from taskmesh.worker.work_pool import WorkPool

KEEPER_SECONDS = 1.0
KEEPER_LEASE_SECONDS = 5.0
RENEWALS_AWAITED = 2
"""When the store comes back, its keeper gives every holder that lives the time of so many renewals to say so."""

PREFETCH_SECONDS = 0.5
LETTERS_SECONDS = 5.0
START_BASE_SECONDS = 0.2
START_CAP_SECONDS = 5.0
LOOK_SECONDS = 0.01
SETTLE_SECONDS = 3.0
"""After a drain: how long the last ends may take to reach the store and the broker."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this session is, and what it consumes."""

    holder: str
    pools: tuple[str, ...]


class Session:
    """Everything of an I/O process that runs on its loop."""

    def __init__(
        self,
        foundation: Foundation,
        identity: Identity,
        make_pool: Callable[[Engine], WorkPool],
        on_fatal: Callable[[TaskmeshError], None],
    ) -> None:
        self._foundation = foundation
        self._identity = identity
        self._deaths_told = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._missing_store = "not started yet"
        self._delay = full_jitter(START_BASE_SECONDS, START_CAP_SECONDS)
        self.tally = Tally()
        settings = foundation.settings
        self._publisher = open_publisher(foundation.broker, on_fatal)
        self._prefetch = Prefetch(settings.broker.prefetch, settings.broker.shards)
        self._consumer = open_consumer(
            foundation.broker, identity.pools, identity.holder, on_fatal, prefetch=self._prefetch.current
        )
        dispatcher = Dispatcher(self._publisher)
        dead_letters = DeadLetters(
            foundation.housekeeping, self._publisher, self._consumer, self.tally, identity.holder, foundation.clock
        )
        self._letters = LetterCollector(
            foundation.letters, self._consumer, settings.namespace, self.tally, foundation.clock
        )
        parts = Parts(
            foundation.store,
            foundation.reader,
            foundation.plans,
            dispatcher,
            self._alarm(dispatcher),
            self._consumer,
            dead_letters,
            self.tally,
            foundation.clock,
        )
        quarantine = Quarantine(settings.worker.max_crashes, settings.worker.max_losses)
        self._engine = Engine(parts, identity.holder, quarantine)
        self._pool = make_pool(self._engine)
        self._engine.use(self._pool)
        self._keeper = self._make_keeper(dispatcher)
        self._timers = Timers(
            foundation.housekeeping, foundation.reader, foundation.plans, self._alarm(dispatcher), foundation.clock
        )

    async def start(self) -> None:
        """Take up work.

        :raises StoreRefusedError: the store refuses, or may not be trusted with runs.
        """
        await self._enter_store()
        await self._publisher.start()
        await self._consumer.start(self._engine.on_delivery, self._letters.on_letter)
        self._every(self._foundation.settings.worker.renewal_seconds, self._renew)
        self._every(KEEPER_SECONDS, self._keep)
        self._every(PREFETCH_SECONDS, self._tune)
        self._every(LETTERS_SECONDS, self._letters.look)

    @property
    def missing(self) -> str:
        """What keeps this session from working, or an empty string."""
        if self._missing_store:
            return self._missing_store
        if self._consumer.state is LinkState.DOWN:
            return "not connected to the broker for consuming"
        if self._publisher.state is LinkState.DOWN:
            return "not connected to the broker for publishing"
        if not self._pool.tasks:
            return "no executor is ready yet"
        return ""

    def figures(self) -> dict[str, list[Any]]:
        """What changed since the last call, for the metrics."""
        self.tally.set("in_flight", self._engine.in_flight)
        self.tally.set("executors", self._pool.ready_count)
        self.tally.count("executor_deaths_total", amount=self._pool.deaths - self._deaths_told)
        self._deaths_told = self._pool.deaths
        self.tally.set("unconfirmed", self._publisher.unconfirmed)
        self.tally.set("link_up", float(self._consumer.state is LinkState.UP), ("consume",))
        self.tally.set("link_up", float(self._publisher.state is LinkState.UP), ("publish",))
        return self.tally.take()

    async def drain(self, seconds: float) -> bool:
        """Take nothing more, finish what runs, hand the rest back; False when something had to be handed back."""
        self._consumer.pause()
        self._letters.stop()
        self._consumer.requeue(self._engine.stop_taking())
        finished = await self._finish(seconds)
        if not finished:
            # Handed back only when it cannot run here any more.
            await self._pool.stop()
            self._engine.release_all()
        await self._flush()
        return finished

    async def close(self) -> None:
        """Leave; what was not drained is taken over by others when the lease is over."""
        for task in self._tasks:
            task.cancel()
        self._timers.end()
        self._engine.stop_taking()
        await self._pool.stop()
        await self._consumer.close()
        await self._publisher.close()
        if not self._engine.in_flight and not self._engine.unsettled:
            self._end_lease()

    async def _enter_store(self) -> None:
        """Waits for a store that is away: servers and workers are often started together."""
        failures = 0
        while True:
            try:
                self._refuse_unsafe_store()
                self._foundation.housekeeping.announce_pools(self._identity.pools)
                self._foundation.housekeeping.renew_holder(self._identity.holder, self._lease_seconds)
            except StoreRefusedError:
                raise
            except StoreUnavailableError as error:
                failures += 1
                self._missing_store = str(error)
                _log.warning("%s; trying again", error)
                await asyncio.sleep(self._delay(failures))
            else:
                self._missing_store = ""
                return

    def _refuse_unsafe_store(self) -> None:
        foundation = self._foundation
        durability = foundation.settings.store.durability
        refuse_unsafe(foundation.link, foundation.keys, durability, foundation.embedded is not None)

    async def _finish(self, seconds: float) -> bool:
        """Wait until all that was claimed has run, claims on their way included; False when the time was over."""
        try:
            async with asyncio.timeout(seconds):
                while self._engine.claiming:
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            return False
        return await self._pool.drain(seconds)

    async def _flush(self) -> None:
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                while self._engine.unsettled:
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            _log.warning("%d ends did not reach the store in time", self._engine.unsettled)
        await self._publisher.drain(SETTLE_SECONDS)

    def _end_lease(self) -> None:
        try:
            self._foundation.housekeeping.end_holder(self._identity.holder)
        except StoreUnavailableError as error:
            _log.warning("the lease could not be ended and will lapse: %s", error)

    @property
    def _lease_seconds(self) -> float:
        return self._foundation.settings.worker.lease_seconds

    def _make_keeper(self, dispatcher: Dispatcher) -> Keeper:
        foundation = self._foundation
        parts = KeeperParts(
            foundation.store,
            foundation.reader,
            foundation.housekeeping,
            foundation.plans,
            dispatcher,
            self._publisher,
            self.tally,
        )
        settings = foundation.settings
        return Keeper(
            parts,
            self._identity.holder,
            settings.namespace,
            settings.broker.shards,
            KEEPER_LEASE_SECONDS,
            RENEWALS_AWAITED * settings.worker.renewal_seconds,
        )

    def _every(self, seconds: float, step: Callable[[], None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(_repeat(seconds, step)))

    def _renew(self) -> None:
        housekeeping = self._foundation.housekeeping
        try:
            in_force = housekeeping.renew_holder(self._identity.holder, self._lease_seconds)
        except StoreUnavailableError as error:
            self._missing_store = str(error)
            raise
        self._missing_store = ""
        if not in_force:
            _log.warning("the lease of this process was over; its nodes may have been given to others")
            # A store that has lost the lease may have lost the list of pools too, and with it the keeper's work.
            housekeeping.announce_pools(self._identity.pools)

    def _keep(self) -> None:
        if self._keeper.run_pass():
            self._timers.begin()
        else:
            self._timers.end()

    def _alarm(self, dispatcher: Dispatcher) -> AlarmClock:
        foundation = self._foundation
        return AlarmClock(
            foundation.store,
            dispatcher,
            foundation.clock,
            lambda seconds: self.tally.observe("timer_lateness_seconds", seconds),
        )

    def _tune(self) -> None:
        wanted = self._prefetch.adapt(self._pool.window)
        if wanted is not None:
            self._consumer.set_prefetch(wanted)
            self._consumer.requeue(self._engine.surplus())


async def _repeat(seconds: float, step: Callable[[], None]) -> None:
    while True:
        try:
            step()
        except TaskmeshError as error:
            _log.warning("%s", error)
        except Exception:
            # A loop that keeps promises must outlive any single failure.
            _log.exception("a periodic step failed")
        await asyncio.sleep(seconds)
