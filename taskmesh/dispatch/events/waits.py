"""Events and the nodes that wait for them: whichever comes second finds the other, so no moment is left between them.

A node is registered under its key and then looks at the events that are kept under it; an event is kept and then looks
for the nodes that are registered. Both are one script, as all of a key is in one partition. What is found is delivered
to the run as a signal, known by the event: again is once. Whoever dies on the way, the next one does all of it again:
a worker gets the message of the node, or of the event, another time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from taskmesh.dispatch.dispatcher import Ready
from taskmesh.dispatch.lookup import LookedUp, look_up
from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.plans import Plans
from taskmesh.errors import EventError, WireError
from taskmesh.model.events.on_event import InboundEvent
from taskmesh.model.events.on_event_rules import digest
from taskmesh.model.events.waits import Awaited, EventWait, awaited_by, key_of_event, key_of_match, takes
from taskmesh.model.values import Value
from taskmesh.store.calls import NodeKey, Word
from taskmesh.store.events.waits import MAX_AWAITED, MAX_WAITING, EventWaits, Keeping, Registration, Waiter
from taskmesh.store.family_reader import FamilyReader
from taskmesh.store.signals import Signal, Signals
from taskmesh.store.store import Request, Store
from taskmesh.wire import pack, unpack
from taskmesh.wire.claim_checks import pack_output

SIGNALS_PER_CALL = 200
BYTES_PER_CALL = 8 * 1024 * 1024

LAPSES_AFTER_SECONDS = 7 * 86_400.0
"""A registration is good so much longer than the wait of its node: no worker may be there when that is over."""

_log = logging.getLogger(__name__)


class Place(NamedTuple):
    """Where a node is found by events."""

    key: str
    waiter: Waiter


def place_of(step: EventWait, match: Mapping[str, Value], node: NodeKey, past: int) -> Place:
    """The place of a node that matches these values, and had so many attempts before its run was reopened.

    :raises EventError: a value is none that an event could have.
    """
    return Place(key_of_match(step.event, match), Waiter(node, past))


class Begun(NamedTuple):
    """A claimed node that waits for an event, for so long before it is looked at again.

    ``heard`` are the signals that it had before its run was reopened.
    """

    plan: Plan
    step: EventWait
    place: Place
    shard_key: str
    seconds: float
    heard: Sequence[str] = ()

    @property
    def key(self) -> NodeKey:
        return self.place.waiter.node


class _Hit(NamedTuple):
    """An event, and a node that it may be for; ``key`` is what both have. ``arrived`` is told what comes of it."""

    event: InboundEvent
    key: str
    waiter: Waiter
    to: LookedUp
    arrived: Arrived


class Arrived(NamedTuple):
    """What came of an event: nodes that are ready by it, and why others that it is for cannot take it."""

    ready: list[Ready]
    refusals: list[str]


class EventDelivery:
    """Brings events to the nodes that wait for them. Safe in threads."""

    def __init__(self, store: Store, plans: Plans) -> None:
        self._waits = EventWaits(store)
        self._signals = Signals(store)
        self._reader = FamilyReader.of(store)
        self._plans = plans

    def asking(self, events: Sequence[InboundEvent]) -> tuple[Sequence[str], Request[Sequence[Awaited]]]:
        """The types of events, and the question what nodes wait for of each."""
        types = tuple(dict.fromkeys(event.type for event in events))
        return types, self._waits.awaited(types)

    def begin(self, begun: Sequence[Begun]) -> list[Arrived]:
        """Let nodes wait; says which are ready by an event that has come, and why a node cannot wait.

        :raises StoreUnavailableError: some may wait; let all of them begin again.
        """
        awaited = [each for node in begun if (each := awaited_by(node.plan.node(node.key.node)))]
        distinct = list(dict.fromkeys(awaited))
        noted = dict(zip(distinct, self._waits.note(distinct), strict=True))
        registrations = [
            Registration(*node.place, node.seconds + LAPSES_AFTER_SECONDS, node.step.keep_seconds) for node in begun
        ]
        answers = self._waits.register(registrations)
        arrived = [Arrived([], []) for _ in begun]
        hits: list[_Hit] = []
        for at, (node, wish, answer) in enumerate(zip(begun, registrations, answers, strict=True)):
            if noted[awaited[at]] is answer.word is Word.KEPT:
                hits += _first_that_fits(node, wish, answer.events, arrived[at])
            else:
                arrived[at].refusals.append(_why_not(node.step.event, noted[awaited[at]], answer.word))
        self._deliver(hits)
        return arrived

    def leave(self, places: Sequence[Place]) -> None:
        """Nodes wait no more; to be called before their ends are settled, while nobody else can let them wait anew."""
        self._waits.forget(places)

    def arrive(self, events: Sequence[InboundEvent], awaited: Mapping[str, Sequence[Awaited]]) -> list[Arrived]:
        """Bring events to those who wait, and keep them for those who will; ``awaited`` is what for, by type.

        :raises StoreUnavailableError: some may have been delivered; let all of them arrive again.
        """
        arrived = [Arrived([], []) for _ in events]
        wishes = [
            (at, wish) for at, event in enumerate(events) for wish in _keepings(event, awaited.get(event.type, ()))
        ]
        answers = self._waits.keep([wish for _, wish in wishes])
        _tell_of_dropped(sum(answer.dropped for answer in answers), sum(each.word is Word.FULL for each in answers))
        for (at, _), answer in zip(wishes, answers, strict=True):
            arrived[at].refusals.extend([_damaged(events[at].type)] if answer.word is Word.BROKEN else [])
        found = [
            (at, wish.key, waiter)
            for (at, wish), answer in zip(wishes, answers, strict=True)
            for waiter in answer.waiters
        ]
        looked_up = look_up(self._reader, self._plans, [waiter.node for _, _, waiter in found])
        hits = [
            _Hit(events[at], key, waiter, to, arrived[at])
            for (at, key, waiter), to in zip(found, looked_up, strict=True)
        ]
        self._deliver([hit for hit in hits if _fits(hit)])
        return arrived

    def _deliver(self, hits: Sequence[_Hit]) -> None:
        """Signal nodes; those that have heard wait no more."""
        for some in _slices(hits):
            answers = self._signals.signal_nodes([signal for _, signal in some])
            over = []
            for (hit, _), answer in zip(some, answers, strict=True):
                if answer.word not in (Word.BROKEN, Word.NOTHING):
                    over.append((hit.key, hit.waiter))
                if answer.token and hit.to.plan is not None:
                    place = hit.to.plan, *hit.waiter.node, hit.to.shard_key
                    hit.arrived.ready.append(Ready(*place, answer.attempt, answer.token, elsewhere=True))
            self._waits.forget(over)


def by_type(types: Sequence[str], awaited: Sequence[Sequence[Awaited]]) -> Mapping[str, Sequence[Awaited]]:
    """What nodes wait for, from the answers to ``asking``; what is of another type than its key says is passed over."""
    pairs = zip(types, awaited, strict=True)
    return {event: [each for each in found if each.event == event] for event, found in pairs if found}


def _keepings(event: InboundEvent, awaited: Sequence[Awaited]) -> Iterator[Keeping]:
    """The keys under which an event is kept and looked for."""
    seconds: dict[tuple[str, ...], float] = {}
    for each in awaited:
        seconds[each.paths] = max(each.keep_seconds, seconds.get(each.paths, 0.0))
    name = digest(event.source, event.id).hex()
    packed = pack(list(event)) if seconds else b""
    for paths, keep_seconds in seconds.items():
        key = key_of_event(event, paths)
        if key is not None:
            yield Keeping(key, name, packed, keep_seconds)


def _first_that_fits(node: Begun, wish: Registration, events: Sequence[bytes], arrived: Arrived) -> list[_Hit]:
    """The oldest of the kept events that a node takes; who has sent one that nobody can take hears no more of it."""
    to, unfit = LookedUp(node.key, node.plan, node.shard_key), Arrived([], [])
    kept = [event for packed in events if (event := _event_of(packed))]
    hits = [_Hit(event, wish.key, wish.waiter, to, unfit) for event in kept if _id_of(event) not in node.heard]
    first = next((hit._replace(arrived=arrived) for hit in hits if _fits(hit)), None)
    for refusal in unfit.refusals:
        _log.warning("a kept event is passed over: %s", refusal)
    return [first] if first else []


def _event_of(packed: bytes) -> InboundEvent | None:
    """None for what another version may have kept."""
    try:
        return InboundEvent(*unpack(packed))
    except (WireError, TypeError):
        return None


def _fits(hit: _Hit) -> bool:
    """Whether a node takes an event that matches; why it cannot is told."""
    plan, (run_id, place) = hit.to.plan, hit.waiter.node
    if plan is None:
        # One that is gone is signalled all the same: the answer ends its registration.
        return hit.to.is_gone
    step = plan.node(place).step
    try:
        return isinstance(step, EventWait) and takes(step, hit.event)
    except EventError as error:
        hit.arrived.refusals.append(f"node {plan.name_of(place)!r} of run {run_id!r}: {error}")
        return False


def _slices(hits: Sequence[_Hit]) -> Iterator[list[tuple[_Hit, Signal]]]:
    """As many as go to the store at once."""
    some: list[tuple[_Hit, Signal]] = []
    size = 0
    for hit in hits:
        signal = _signal(hit)
        if some and (len(some) == SIGNALS_PER_CALL or size + len(signal.payload) > BYTES_PER_CALL):
            yield some
            some, size = [], 0
        some.append((hit, signal))
        size += len(signal.payload)
    if some:
        yield some


def _signal(hit: _Hit) -> Signal:
    event, node = hit.event, hit.waiter.node
    # The pool of a run that is gone is nobody's.
    pool = hit.to.plan.pool_of(node.node) if hit.to.plan else ""
    source = f" of {event.source}" if event.source else ""
    return Signal(node, pool, _id_of(event), f"event {event.type}{source}", pack_output(event.data), once=True)


def _id_of(event: InboundEvent) -> str:
    """By which a run knows an event."""
    return f"{event.source}/{event.id}" if event.source else event.id


def _damaged(event: str) -> str:
    return f"what the store holds for nodes that wait for events {event!r} is damaged"


def _why_not(event: str, noted: Word, registered: Word) -> str:
    """Why a node cannot wait."""
    if Word.BROKEN in (noted, registered):
        return _damaged(event)
    if noted is Word.FULL:
        return (
            f"nodes wait for events {event!r} in {MAX_AWAITED} different ways already (paths of match, and keep); "
            "let more of them match the same paths"
        )
    return f"{MAX_WAITING} nodes wait for an event {event!r} with the same values already; no more can"


def _tell_of_dropped(dropped: int, refused: int) -> None:
    if dropped or refused:
        _log.warning(
            "%d events that were kept for nodes which wait later made room before their time, %d found none",
            dropped,
            refused,
        )
