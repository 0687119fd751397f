"""One life of an I/O process: connect, hold a lease, run nodes, keep house, drain, leave."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from taskmesh.app.assembly import Foundation
from taskmesh.app.keeping import PASS_SECONDS, KeeperRole, alarm_clock
from taskmesh.app.steps import Step, end_all, enter_store, refuse_unsafe_store, repeat
from taskmesh.broker.factory import ConsumerOpener, PublisherOpener, open_consumer, open_publisher
from taskmesh.broker.protocol import LinkState
from taskmesh.config.live import digest
from taskmesh.config.settings import Settings
from taskmesh.dispatch.dispatcher import Dispatcher
from taskmesh.dispatch.events.runs import EventRuns
from taskmesh.errors import StoreUnavailableError, TaskmeshError
from taskmesh.model.checkup.settings_rules import SettingsReport
from taskmesh.observability.tally import Tally
from taskmesh.payload.large_values import LargeValues
from taskmesh.store.aside import aside
from taskmesh.worker.engine.answering import Answering
from taskmesh.worker.engine.engine import Engine
from taskmesh.worker.engine.event_intake import EventIntake
from taskmesh.worker.engine.halting import LOOK_SECONDS as LOOK_SECONDS_AT_HALTS
from taskmesh.worker.engine.handing_on import HandingOn
from taskmesh.worker.engine.parts import Parts
from taskmesh.worker.engine.prefetch import Prefetch
from taskmesh.worker.engine.quarantine import Quarantine
from taskmesh.worker.engine.receipt import Receipt
from taskmesh.worker.engine.standing_back import StandingBack
from taskmesh.worker.engine.work_pool import WorkPool
from taskmesh.worker.letters.burying import DeadLetters
from taskmesh.worker.letters.collector import LetterCollector

PREFETCH_SECONDS = 0.5
LETTERS_SECONDS = 5.0
STANDING_LOOK_SECONDS = 1.0
LOOK_SECONDS = 0.01
OVERDUE_SECONDS = 0.5
"""What has not ended when the time of a drain is over gets so long to end by itself before it is killed."""

LEAVE_SECONDS = 3.0
"""After a drain: how long the last ends and hand-backs may take to reach the store and the broker."""

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
        open_publisher: PublisherOpener = open_publisher,
        open_consumer: ConsumerOpener = open_consumer,
    ) -> None:
        self._foundation = foundation
        self._identity = identity
        self._deaths_told = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._missing_store = "not started yet"
        self.tally = Tally()
        settings = foundation.settings
        self.apply(settings)
        self._receipt = self._make_receipt()
        self._publisher = open_publisher(foundation.broker, on_fatal)
        self._prefetch = Prefetch(settings.broker.prefetch, settings.broker.shards)
        self._consumer = open_consumer(
            foundation.broker, identity.pools, identity.holder, on_fatal, self._prefetch.current
        )
        dispatcher = Dispatcher(self._publisher)
        dead_letters = DeadLetters(
            foundation.housekeeping, self._publisher, self._consumer, self.tally, identity.holder, foundation.clock
        )
        self._letters = self._make_letters()
        parts = Parts(
            foundation.store,
            foundation.reader,
            foundation.plans,
            dispatcher,
            alarm_clock(foundation, dispatcher, self.tally),
            self._consumer,
            dead_letters,
            self.tally,
            foundation.clock,
            settings.limits.max_value_bytes,
            LargeValues(foundation.payloads, settings.payload.claim_check_bytes),
        )
        self._intake = EventIntake(EventRuns(foundation.store, parts.plans, parts.max_value_bytes), parts)
        quarantine = Quarantine(settings.worker.max_crashes, settings.worker.max_losses)
        self._standing_back = StandingBack(self._consumer, foundation.clock)
        handing_on = HandingOn(settings.worker.unknown_task_seconds, self._standing_back.begin)
        self._engine = Engine(parts, identity.holder, quarantine, handing_on)
        self._answering = Answering(parts, foundation.housekeeping, self._engine, identity.holder)
        self._pool = make_pool(self._engine)
        self._engine.use(self._pool)
        self._keeper = self._make_keeper(dispatcher) if settings.worker.keeper else None

    async def start(self) -> None:
        """Take up work.

        :raises StoreRefusedError: the store refuses, or may not be trusted with runs.
        :raises UsageError: the place for large values belongs to another installation, or cannot be opened.
        """
        await enter_store(self._enter, self._note_missing)
        await self._publisher.start()
        await self._consumer.start(self._engine.on_delivery, self._letters.on_letter, self._intake.on_event)
        # Apart from all else: a lease must wait for nothing.
        self._every(self._foundation.settings.worker.renewal_seconds, self._renew)
        self._every(self._foundation.settings.worker.renewal_seconds, self._serve)
        if self._keeper is not None:
            self._every(PASS_SECONDS, self._keeper.keep)
        self._every(PREFETCH_SECONDS, self._tune)
        self._every(LOOK_SECONDS_AT_HALTS, self._look_at_halts)
        self._every(self._foundation.settings.worker.early_ack_seconds, self._engine.look_at_long_tasks)
        self._every(LETTERS_SECONDS, self._letters.look)
        self._every(STANDING_LOOK_SECONDS, self._standing_back.look)

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

    async def check(self) -> str:
        """What keeps this session from working, or shows that messages do not arrive; asks the store."""
        if self.missing:
            return self.missing
        try:
            await self._receipt.look()
        except StoreUnavailableError as error:
            self._missing_store = str(error)
            return self._missing_store
        # Behind a backlog a probe waits like everything else.
        return "" if self._engine.is_busy else self._receipt.missing

    def figures(self) -> dict[str, list[Any]]:
        """What changed since the last call, for the metrics."""
        self.tally.set("in_flight", self._engine.in_flight)
        self.tally.set("executors", self._pool.ready_count)
        self.tally.count("executor_deaths_total", amount=self._pool.deaths - self._deaths_told)
        self._deaths_told = self._pool.deaths
        self.tally.set("unconfirmed", self._publisher.unconfirmed)
        self._receipt.tell(self.tally)
        self.tally.set("link_up", float(self._consumer.state is LinkState.UP), ("consume",))
        self.tally.set("link_up", float(self._publisher.state is LinkState.UP), ("publish",))
        return self.tally.take()

    def apply(self, settings: Settings, pushed: int = 0, is_refused: bool = False) -> None:
        """Take settings over, which may be others than before, and report so with the next renewal of the lease."""
        self._cancel_grace_seconds = settings.worker.cancel_grace_seconds
        self._report = SettingsReport(digest(settings), pushed, is_refused)

    async def drain(self, seconds: float) -> bool:
        """Take nothing more, finish what runs, hand the rest back; False when the store did not take all of it."""
        self._consumer.pause()
        self._letters.stop()
        self._intake.stop()
        self._consumer.requeue(self._engine.stop_taking())
        self._pool.wind_down()
        if not await self._finish(seconds):
            # Handed back only when it cannot run here any more.
            await self._pool.stop(OVERDUE_SECONDS)
            self._engine.release_all()
        return await self._flush()

    async def close(self) -> None:
        """Leave; what was not drained is taken over by others when the lease is over."""
        await end_all(self._tasks)
        if self._keeper is not None:
            self._keeper.leave()
        # What comes from here on goes back at once: to others only where this consumer is gone, else to it again.
        self._consumer.pause()
        self._engine.stop_taking()
        await self._pool.stop()
        await self._consumer.close()
        await self._publisher.close()
        if not self._engine.in_flight and not self._engine.unsettled:
            self._end_lease()

    def _enter(self) -> None:
        refuse_unsafe_store(self._foundation)
        if (payloads := self._foundation.payloads()) is not None:
            payloads.claim(self._foundation.housekeeping.installation())
        self._foundation.housekeeping.announce_pools(self._identity.pools)
        self._foundation.housekeeping.renew_holder(self._identity.holder, self._lease_seconds)
        self._serve_pools()

    def _note_missing(self, sentence: str) -> None:
        self._missing_store = sentence

    async def _finish(self, seconds: float) -> bool:
        """Wait until all that was claimed has run, claims on their way included; False when the time was over."""
        clock = self._foundation.clock
        deadline = clock.monotonic() + seconds
        try:
            async with asyncio.timeout(seconds):
                while self._engine.claiming:
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            return False
        return await self._pool.drain(max(0.0, deadline - clock.monotonic()))

    async def _flush(self) -> bool:
        clock = self._foundation.clock
        deadline = clock.monotonic() + LEAVE_SECONDS
        while self._engine.unsettled and clock.monotonic() < deadline:
            await asyncio.sleep(LOOK_SECONDS)
        if not await self._publisher.drain(max(0.0, deadline - clock.monotonic())):
            _log.warning(
                "the broker has not confirmed %d messages; the keeper of another worker publishes them again",
                self._publisher.unconfirmed,
            )
        if self._engine.unsettled:
            _log.error(
                "the store did not take the ends or hand-backs of %d nodes; others run them again when the lease of "
                "this process is over, within %g s",
                self._engine.unsettled,
                self._lease_seconds,
            )
        return not self._engine.unsettled

    def _end_lease(self) -> None:
        try:
            self._foundation.housekeeping.leave_pools(self._identity.holder, self._identity.pools)
            self._foundation.housekeeping.end_holder(self._identity.holder)
        except StoreUnavailableError as error:
            _log.warning("the lease could not be ended and will lapse: %s", error)

    @property
    def _lease_seconds(self) -> float:
        return self._foundation.settings.worker.lease_seconds

    def _make_letters(self) -> LetterCollector:
        base = self._foundation
        return LetterCollector(base.letters, self._consumer, base.settings.namespace, self.tally, base.clock)

    def _make_receipt(self) -> Receipt:
        base, settings = self._foundation, self._foundation.settings
        pools, shards = self._identity.pools, settings.broker.shards
        return Receipt(base.housekeeping, settings.namespace, pools, shards, base.clock)

    def _make_keeper(self, dispatcher: Dispatcher) -> KeeperRole:
        return KeeperRole(self._foundation, self._identity.holder, self._publisher, dispatcher, self.tally)

    async def _look_at_halts(self) -> None:
        await self._engine.look_at_halts(self._cancel_grace_seconds)

    def _every(self, seconds: float, step: Step) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(repeat(seconds, step)))

    async def _renew(self) -> None:
        housekeeping = self._foundation.housekeeping
        try:
            in_force = await aside(housekeeping.renew_holder, self._identity.holder, self._lease_seconds)
        except StoreUnavailableError as error:
            self._missing_store = str(error)
            raise
        self._missing_store = ""
        if not in_force:
            _log.warning("the lease of this process was over; its nodes may have been given to others")
            # A store that has lost the lease may have lost the list of pools too, and with it the keeper's work.
            await aside(housekeeping.announce_pools, self._identity.pools)

    async def _serve(self) -> None:
        await aside(self._serve_pools)
        await self._answering.run_pass()

    def _serve_pools(self) -> None:
        housekeeping, holder = self._foundation.housekeeping, self._identity.holder
        housekeeping.serve_pools(holder, self._identity.pools, self._lease_seconds)
        housekeeping.report_settings(holder, self._report, self._lease_seconds)

    def _tune(self) -> None:
        wanted = self._prefetch.adapt(self._pool.window)
        if wanted is not None:
            self._consumer.set_prefetch(wanted)
            self._consumer.requeue(self._engine.surplus())
