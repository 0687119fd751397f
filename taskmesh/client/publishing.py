"""Publishes events straight to the store: when that returns, their runs are admitted, and who waits has them."""

from __future__ import annotations

import secrets
from typing import NamedTuple

from taskmesh.client.parts import ClientParts
from taskmesh.dispatch.dispatcher import outgoing
from taskmesh.dispatch.events.runs import EventRuns
from taskmesh.errors import EventError, WireError
from taskmesh.model.events.gathering import run_id_of
from taskmesh.model.events.on_event import InboundEvent
from taskmesh.model.values import Value
from taskmesh.store.events.batch_reader import EventBatchReader, Standing
from taskmesh.wire.inbound_events import checked_event

_ID_BYTES = 12


class WaitingBatch(NamedTuple):
    """A batch of events whose run has not begun. It closes at ``closes_at``, where no event puts that off; times in
    epoch seconds. ``size_bytes`` is what counts of its ``size`` events against ``limits.max_value_bytes``."""

    run_id: str
    flow: str
    key: str
    size: int
    size_bytes: int
    opened_at: float
    closes_at: float
    is_open: bool


class EventDoor:
    """Where events come in. Safe in threads."""

    def __init__(self, parts: ClientParts, max_value_bytes: int) -> None:
        self._parts = parts
        self._runs = EventRuns(parts.store, parts.plans, max_value_bytes)
        self._batches = EventBatchReader(parts.store.link, parts.keys)
        self._max_value_bytes = max_value_bytes

    def publish(self, type_: str, data: Value, event_id: str | None, source: str | None) -> list[str]:
        """Begin the runs of an event, and end the waits for it; returns the ids of the runs, old ones included.

        Flows that gather events begin none now.

        :raises EventError: it is none, or a flow or a node cannot take it; those that can have it.
        :raises StoreUnavailableError: the store does not answer; publish it again under the same id.
        """
        event = InboundEvent(type_, event_id or secrets.token_hex(_ID_BYTES), source or "", data)
        try:
            checked = checked_event(event, self._max_value_bytes)
        except WireError as error:
            raise EventError(str(error)) from None
        with self._parts.store_breaker.calling():
            [arrival] = self._runs.admit([checked])
        self._parts.publisher.publish([outgoing(ready) for ready in arrival.ready])
        if arrival.refusals:
            raise EventError("\n".join(arrival.refusals))
        return arrival.run_ids

    def batches(self, limit: int) -> list[WaitingBatch]:
        """Batches whose runs have not begun: those that are closed, then those that close next.

        :raises StoreUnavailableError: the store does not answer.
        """
        numbers = sorted(self._batches.partitions())
        closed = self._batches.closed(limit, numbers)[:limit]
        found = self._batches.closed_standings([batch for batch, _ in closed]) if closed else []
        closing = self._batches.next_to_close(limit, numbers)[: limit - len(closed)]
        found += self._batches.open_standings([gathering_id for gathering_id, _ in closing]) if closing else []
        return [_waiting(each) for each in found if each is not None]


def _waiting(each: Standing) -> WaitingBatch:
    times = each.opened_at, each.closes_at
    return WaitingBatch(run_id_of(*each.batch), each.flow, each.key, each.size, each.weight, *times, each.is_open)
