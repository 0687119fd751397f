"""The keeper's role in a process: leading partitions, looking after what was lost, ringing timers, schedules."""

from __future__ import annotations

import logging
import math

from taskmesh.app.assembly import Foundation
from taskmesh.broker.protocol import Publisher
from taskmesh.dispatch.dispatcher import Dispatcher
from taskmesh.dispatch.events.batches import BatchRuns
from taskmesh.dispatch.events.published import EventWriter
from taskmesh.dispatch.ticks import Definitions, TickRuns
from taskmesh.dispatch.waking import AlarmClock
from taskmesh.errors import StoreUnavailableError
from taskmesh.keeper.active_runs import ActiveRuns
from taskmesh.keeper.batches import Batches, BatchParts
from taskmesh.keeper.deciding import SchedulerParts
from taskmesh.keeper.events import EventRelay
from taskmesh.keeper.families import Families
from taskmesh.keeper.halts import Halts
from taskmesh.keeper.keeper import PROBING_PARTITION, Keeper, KeeperParts
from taskmesh.keeper.leadership import Leadership
from taskmesh.keeper.payload_sweep import PayloadSweep
from taskmesh.keeper.scheduler import Scheduler
from taskmesh.keeper.timers import Timers
from taskmesh.observability.tally import Tally
from taskmesh.payload.large_values import LargeValues
from taskmesh.store.controls import Controls
from taskmesh.store.elections import Elections
from taskmesh.store.events.batch_reader import EventBatchReader
from taskmesh.store.events.batches import EventBatches
from taskmesh.store.events.recorded import EventOutbox
from taskmesh.store.expected_runs import ExpectedRuns
from taskmesh.store.schedules.life_signs import LifeSigns
from taskmesh.store.schedules.reader import ScheduleReader
from taskmesh.store.schedules.schedules import Schedules

PASS_SECONDS = 1.0
LEAD_SECONDS = 5.0
"""How long a partition stays without a keeper at most when its leader dies, but for one pass."""

RENEWALS_AWAITED = 2
"""When the store comes back, its keeper gives every holder that lives the time of so many renewals to say so."""

_log = logging.getLogger(__name__)


class KeeperRole:
    """Keeps house from one process. Everything happens on one loop."""

    def __init__(
        self, foundation: Foundation, holder: str, publisher: Publisher, dispatcher: Dispatcher, tally: Tally
    ) -> None:
        settings = foundation.settings
        self._clock = foundation.clock
        self._due_at = math.inf
        self._tally = tally
        elections = Elections(foundation.link, foundation.keys)
        self._leadership = Leadership(elections, holder, LEAD_SECONDS)
        grace_seconds = RENEWALS_AWAITED * settings.worker.renewal_seconds
        parts = KeeperParts(
            foundation.store,
            foundation.reader,
            foundation.housekeeping,
            foundation.plans,
            dispatcher,
            publisher,
            tally,
            self._leadership,
            settings.limits.max_value_bytes,
            LargeValues(foundation.payloads, settings.payload.claim_check_bytes),
        )
        self._keeper = Keeper(parts, settings.namespace, settings.broker.shards, grace_seconds)
        self._families = Families(parts)
        self._timers = Timers(
            foundation.housekeeping,
            foundation.reader,
            foundation.plans,
            self._leadership,
            Controls(foundation.store),
            alarm_clock(foundation, dispatcher, tally),
            Halts(parts, holder, grace_seconds),
            open_batches(foundation, self._leadership, dispatcher, tally, holder),
            foundation.clock,
        )
        self._scheduler = open_scheduler(foundation, self._leadership, dispatcher, tally)
        asked = foundation.housekeeping, foundation.reader, ExpectedRuns.of(foundation.store)
        kept = *asked, settings.store.retention_seconds
        self._sweep = PayloadSweep(foundation.payloads, *kept, tally, foundation.clock)
        self._events = _event_relay(foundation, self._leadership, publisher, tally)

    async def keep(self) -> None:
        """Do a pass; to be called every PASS_SECONDS.

        :raises StoreUnavailableError: nothing is led until a pass succeeds.
        """
        begun = self._clock.monotonic()
        self._tally.set("keeper_lag_seconds", max(0.0, begun - self._due_at))
        try:
            await self._keeper.run_pass()
            await self._families.look()
        except Exception:
            # Not where the pass was cancelled: what is about to leave begins nothing.
            self._serve(begun)
            raise
        self._serve(begun)

    def _serve(self, begun: float) -> None:
        """Begin or end what goes on between the passes, by what is led now."""
        self._due_at = self._clock.monotonic() + PASS_SECONDS
        led = len(self._leadership.epochs)
        self._tally.set("keeper_partitions", led)
        if led:
            self._tally.observe("keeper_pass_seconds", self._clock.monotonic() - begun)
            self._timers.begin()
            self._events.start()
        else:
            self._timers.end()
            self._events.stop()
        if self._leadership.turns:
            self._scheduler.start()
        else:
            self._scheduler.stop()
        if PROBING_PARTITION in self._leadership.epochs:
            self._sweep.begin()
        else:
            self._sweep.end()

    def leave(self) -> None:
        """Keep no more; others take over at once."""
        self._sweep.end()
        self._timers.end()
        self._scheduler.stop()
        self._events.stop()
        try:
            self._leadership.resign()
        except StoreUnavailableError as error:
            _log.warning("others keep house when the lease is over: %s", error)


def alarm_clock(foundation: Foundation, dispatcher: Dispatcher, tally: Tally) -> AlarmClock:
    """Wakes nodes on the running loop, and notes how late."""
    return AlarmClock(
        foundation.store,
        dispatcher,
        foundation.clock,
        lambda seconds: tally.observe("timer_lateness_seconds", seconds),
    )


def _event_relay(foundation: Foundation, leadership: Leadership, publisher: Publisher, tally: Tally) -> EventRelay:
    outbox = EventOutbox(foundation.link, foundation.keys)
    writer = EventWriter(outbox, foundation.plans, foundation.settings.namespace)
    return EventRelay(outbox, writer, publisher, leadership, tally)


def open_batches(
    foundation: Foundation, leadership: Leadership, dispatcher: Dispatcher, tally: Tally, holder: str
) -> Batches:
    """Closes batches of events, and begins their runs."""
    return Batches(
        BatchParts(
            batches=EventBatches(foundation.store),
            reader=EventBatchReader(foundation.link, foundation.keys),
            runs=BatchRuns(foundation.store, foundation.settings.limits.max_value_bytes),
            letters=foundation.letters,
            publish=dispatcher.publish,
            leadership=leadership,
            tally=tally,
            holder=holder,
            namespace=foundation.settings.namespace,
        )
    )


def open_scheduler(foundation: Foundation, leadership: Leadership, dispatcher: Dispatcher, tally: Tally) -> Scheduler:
    """Begins what is due by the schedules, on the running loop."""
    reader = ScheduleReader(foundation.link, foundation.keys)
    definitions = Definitions(reader, foundation.plans)
    limit = foundation.settings.limits.max_value_bytes
    return Scheduler(
        SchedulerParts(
            housekeeping=foundation.housekeeping,
            keys=foundation.keys,
            reader=reader,
            schedules=Schedules(foundation.store),
            definitions=definitions,
            runs=TickRuns(definitions, foundation.store, limit),
            dispatcher=dispatcher,
            active=ActiveRuns(foundation.reader, reader, Controls(foundation.store), foundation.keys),
            signs=LifeSigns(foundation.link, foundation.keys),
            leadership=leadership,
            tally=tally,
            clock=foundation.clock,
        )
    )
