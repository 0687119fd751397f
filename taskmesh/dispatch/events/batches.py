"""Events on their way into batches, and from a batch to its run.

    event ─ gather_event.lua ─► the open batch of its flow and key ─ full, or its time is over ─► closed
                                                                                                    │ the keeper
                                            settle_batch.lua: forgotten ◄─ dispatch ◄─ run admitted under its id

An event is in one batch, since what it is known by is noted in the same step. A closed batch stays until its run is
admitted, so whoever dies on the way, the next one begins the same run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from taskmesh.dispatch.admitted import Admitting
from taskmesh.dispatch.advance import Entrance
from taskmesh.dispatch.dispatcher import Ready
from taskmesh.dispatch.entrance import Submission, entrance_of
from taskmesh.dispatch.events.subscribed import Subscribed, read_subscribed
from taskmesh.dispatch.pins import Pins
from taskmesh.dispatch.plan import Plan
from taskmesh.errors import StoreUnavailableError, UsageError, WireError
from taskmesh.model.condition_text import ConditionError
from taskmesh.model.events.batching import EventBatch
from taskmesh.model.events.gathering import Gatherer, run_id_of
from taskmesh.model.events.on_event import InboundEvent
from taskmesh.store.calls import Word
from taskmesh.store.events.batch_reader import ClosedBatch, EventBatchReader
from taskmesh.store.events.batches import EventBatches, Joining
from taskmesh.store.flow_versions import flow_versions_of
from taskmesh.store.store import Store
from taskmesh.wire import pack
from taskmesh.wire.codec import MAX_DECODED_BYTES
from taskmesh.wire.inbound_events import decode_inbound

EVENT_TAG = "event"
"""The tag by which the runs of a type of event are found."""

JOININGS_PER_CALL = 200
BATCHES_CLOSED_FOR_ROOM = 100
"""Of each partition that has no more."""

VERSIONS_KEPT = 256

_TRIED_ID, _TRIED_AT = "tried", 1_000_000_000.1234567
"""A run that is tried, and is never admitted. No time is longer as text."""


def joining_of(plan: Plan, gatherer: Gatherer, event: InboundEvent, max_value_bytes: int) -> Joining | None:
    """What has to be done so that a flow gathers an event; None where it does not take it.

    :raises UsageError: the flow could not begin with this event alone. :raises WireError: it has no form in bytes.
    """
    belonging = gatherer.belonging_of(event)
    if belonging is None:
        return None
    # Tried here, where whoever has sent it can be told. And the parameters of a batch are never larger than those of
    # runs of its events by themselves together.
    alone = gatherer.params_of(EventBatch(belonging.key, _TRIED_AT, [event]))
    tried = entrance_of(plan, Submission(alone, _TRIED_ID), max_value_bytes)
    packed, batching = pack(event.fields), gatherer.batching
    return Joining(
        gathering_id=belonging.gathering_id,
        mark=belonging.mark,
        event=packed,
        weight=max(len(tried.params), len(packed)),
        flow=plan.flow.name,
        key=belonging.key,
        flow_hash=plan.hash,
        stays_seconds=batching.stays_seconds,
        longest_seconds=batching.longest_seconds,
        most_events=batching.max_batch,
        most_bytes=max_value_bytes,
    )


class EventCollector:
    """Has events gathered. Safe in threads."""

    def __init__(self, store: Store) -> None:
        self._batches = EventBatches(store)
        self._reader = EventBatchReader(store.link, store.keys)
        self._keys = store.keys

    def gather(self, joinings: Sequence[Joining]) -> list[str]:
        """Have events gathered; returns for each why it cannot be, or an empty string.

        :raises StoreUnavailableError: some may not be gathered; gather all of them again.
        """
        words: list[Word] = []
        for start in range(0, len(joinings), JOININGS_PER_CALL):
            words += self._batches.gather_events(joinings[start : start + JOININGS_PER_CALL])
        answered = list(zip(joinings, words, strict=True))
        self._refuse_without_room([each for each, word in answered if word is Word.FULL])
        for joining, word in answered:
            if word is Word.BEHIND:
                raise _no_room(f"so many events of key {joining.key!r} of flow {joining.flow!r} wait for their runs")
        damaged = "what the store holds for the events of this flow is damaged"
        return [f"flow {each.flow!r}: {damaged}" if word is Word.BROKEN else "" for each, word in answered]

    def _refuse_without_room(self, without: Sequence[Joining]) -> None:
        """Batches that take events for hours may have taken all of it, so those that close next do so now."""
        if without:
            numbers = {self._keys.partition_of(each.gathering_id).number for each in without}
            closing = self._reader.next_to_close(BATCHES_CLOSED_FOR_ROOM, sorted(numbers))
            self._batches.close_batches([gathering_id for gathering_id, _ in closing], early=True)
            raise _no_room("a partition of Redis has no more room for events that are gathered")


def _no_room(why: str) -> StoreUnavailableError:
    return StoreUnavailableError(f"{why}; see whether keepers are there (taskmesh events ls, taskmesh doctor)")


class BegunBatch(NamedTuple):
    """What became of a closed batch: its run was admitted, or cannot be, for ``why``."""

    closed: ClosedBatch
    why: str = ""


class BatchRuns:
    """Begins the runs of closed batches, with the version of the flow under which each was opened."""

    def __init__(self, store: Store, max_value_bytes: int) -> None:
        self._versions = flow_versions_of(store)
        self._admitting = Admitting(store)
        self._pins = Pins(store)
        self._max_value_bytes = max_value_bytes
        self._version = lru_cache(VERSIONS_KEPT)(self._read_version)

    def admit(self, closed: Sequence[ClosedBatch]) -> tuple[list[Ready], list[BegunBatch]]:
        """Admit the runs; says which nodes are to be published, and what is to be settled after that.

        :raises StoreUnavailableError: some may have begun; admit all of them again.
        """
        wanted = [(each, run_id_of(*each.standing.batch), self._entrance(each)) for each in closed]
        ready, answered = self._admitting.admit(wanted)
        return ready, [BegunBatch(each, why) for each, why in answered]

    def _entrance(self, closed: ClosedBatch) -> Entrance | str:
        """The run of a batch, or why there can be none."""
        standing = closed.standing
        try:
            plan, gatherer = self._version(standing.flow, standing.flow_hash)
            if not isinstance(gatherer, Gatherer):
                return f"flow {standing.flow!r}: its version gathers no events"
            events = [decode_inbound(each, MAX_DECODED_BYTES) for each in closed.events]
            params = gatherer.params_of(EventBatch(standing.key, standing.opened_at, events))
            run_id = run_id_of(*standing.batch)
            submission = Submission(params, run_id, {EVENT_TAG: events[0].type})
            return self._pins.pinned(entrance_of(plan, submission, self._max_value_bytes))
        except (UsageError, WireError, ConditionError) as error:
            return str(error)

    def _read_version(self, name: str, flow_hash: str) -> Subscribed:
        found = read_subscribed(self._versions, name, flow_hash)
        if found is None:
            raise UsageError(f"flow {name!r}: the version under which its events were gathered cannot be read")
        return found
