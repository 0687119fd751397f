"""From an event to what it begins: a run of each flow that is subscribed, under the id that the event gives it, or
where a flow gathers its events, a place in a batch; and to the nodes that wait for it.

Admitting the same event again begins nothing new, so whoever dies on the way, the next one does all of it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from taskmesh.dispatch.admitted import admitted_among
from taskmesh.dispatch.advance import Advancer, Entrance
from taskmesh.dispatch.dispatcher import Ready
from taskmesh.dispatch.entrance import Submission, entrance_of
from taskmesh.dispatch.events.batches import EVENT_TAG, EventCollector, joining_of
from taskmesh.dispatch.events.subscribed import Subscribed, SubscribedFlows
from taskmesh.dispatch.events.waits import EventDelivery, by_type
from taskmesh.dispatch.pins import Pins
from taskmesh.dispatch.plans import Plans
from taskmesh.errors import UsageError, WireError
from taskmesh.model.events.gathering import Gatherer
from taskmesh.model.events.on_event import InboundEvent
from taskmesh.model.events.on_event_rules import Begun
from taskmesh.model.events.waits import Awaited
from taskmesh.store.events.batches import Joining
from taskmesh.store.flow_versions import flow_versions_of
from taskmesh.store.reader import Reader
from taskmesh.store.store import Store

RUNS_PER_CALL = 200

EVENT_REFUSED = "event_refused"
"""As the reason of a dead letter: a flow cannot begin with the event."""


@dataclass(slots=True)
class Arrival:
    """What came of an event: its runs, of which some may have been there, and why flows or nodes could not take it.

    ``ready`` are the first nodes of the runs, and those that have waited for it.
    """

    run_ids: list[str] = field(default_factory=list)
    ready: list[Ready] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)


class _Refused(NamedTuple):
    """A run that cannot begin, for ``why``."""

    run_id: str
    why: str


class EventRuns:
    """Begins the runs of events, and ends waits for them. Safe in threads."""

    def __init__(self, store: Store, plans: Plans, max_value_bytes: int) -> None:
        self._link = store.link
        self._versions = flow_versions_of(store)
        self._flows = SubscribedFlows(self._versions)
        self._delivery = EventDelivery(store, plans)
        self._advancer = Advancer(store)
        self._pins = Pins(store)
        self._reader = Reader(store.link, store.keys)
        self._collector = EventCollector(store)
        self._max_value_bytes = max_value_bytes

    def admit(self, events: Sequence[InboundEvent]) -> list[Arrival]:
        """Admit the runs of events, or have them gathered, and bring them to who waits; says what is to be published.

        :raises StoreUnavailableError: some may have begun; admit all of them again.
        """
        names, awaited = self._known(events)
        flows = self._flows.now(names)
        arrivals = [Arrival() for _ in events]
        found = [
            (arrival, self._consequence(flow, event, arrival))
            for arrival, event in zip(arrivals, events, strict=True)
            for flow in flows
        ]
        wanted = [(arrival, each) for arrival, each in found if isinstance(each, Entrance)]
        for start in range(0, len(wanted), RUNS_PER_CALL):
            self._admit(wanted[start : start + RUNS_PER_CALL])
        self._refuse([(arrival, each) for arrival, each in found if isinstance(each, _Refused)])
        self._gather([(arrival, each) for arrival, each in found if isinstance(each, Joining)])
        for arrival, arrived in zip(arrivals, self._delivery.arrive(events, awaited), strict=True):
            arrival.ready += arrived.ready
            arrival.refusals += arrived.refusals
        return arrivals

    def _known(self, events: Sequence[InboundEvent]) -> tuple[list[str], Mapping[str, Sequence[Awaited]]]:
        """The names of the registered flows, and what nodes wait for of each type, in one exchange."""
        naming, (types, asking) = self._versions.naming(), self._delivery.asking(events)
        first, *rest = self._link.exchange([*naming.commands, *asking.commands])
        [names] = naming.answers([first])
        return names, by_type(types, asking.answers(rest))

    def _refuse(self, refused: Sequence[tuple[Arrival, _Refused]]) -> None:
        """But for those that have begun: the same event came before."""
        there = admitted_among(self._reader, [each.run_id for _, each in refused])
        for arrival, (run_id, why) in refused:
            if run_id in there:
                arrival.run_ids.append(run_id)
            else:
                arrival.refusals.append(why)

    def _gather(self, wanted: Sequence[tuple[Arrival, Joining]]) -> None:
        for (arrival, _), why in zip(wanted, self._collector.gather([each for _, each in wanted]), strict=True):
            arrival.refusals += [why] if why else []

    def _admit(self, wanted: Sequence[tuple[Arrival, Entrance]]) -> None:
        advances = self._advancer.admit([entrance for _, entrance in wanted])
        for (arrival, entrance), advance in zip(wanted, advances, strict=True):
            # One that was begun by another version, or other data under the same key, is that run all the same.
            arrival.run_ids.append(entrance.run_id)
            arrival.ready += advance.ready

    def _consequence(
        self, flow: Subscribed, event: InboundEvent, arrival: Arrival
    ) -> Entrance | _Refused | Joining | None:
        """What a flow makes of an event, if anything; why it can make nothing of it is told to the arrival."""
        try:
            if isinstance(flow.reaction, Gatherer):
                return joining_of(flow.plan, flow.reaction, event, self._max_value_bytes)
            begun = flow.reaction.begun_by(event)
            return None if begun is None else self._entrance(flow, begun, event)
        except (UsageError, WireError) as error:
            arrival.refusals.append(str(error))
            return None

    def _entrance(self, flow: Subscribed, begun: Begun, event: InboundEvent) -> Entrance | _Refused:
        try:
            submission = Submission(begun.params, begun.run_id, {EVENT_TAG: event.type})
            return self._pins.pinned(entrance_of(flow.plan, submission, self._max_value_bytes))
        except (UsageError, WireError) as error:
            return _Refused(begun.run_id, str(error))
