"""Publishes events straight to the store: when that returns, their runs are admitted, and who waits has them."""

from __future__ import annotations

import secrets

from taskmesh.client.parts import ClientParts
from taskmesh.dispatch.dispatcher import outgoing
from taskmesh.dispatch.event_runs import EventRuns
from taskmesh.errors import EventError, WireError
from taskmesh.model.on_event import InboundEvent
from taskmesh.model.values import Value
from taskmesh.wire.inbound_events import checked_event

_ID_BYTES = 12


class EventDoor:
    """Where events come in. Safe in threads."""

    def __init__(self, parts: ClientParts, max_value_bytes: int) -> None:
        self._parts = parts
        self._runs = EventRuns(parts.store, parts.plans, max_value_bytes)
        self._max_value_bytes = max_value_bytes

    def publish(self, type_: str, data: Value, event_id: str | None, source: str | None) -> list[str]:
        """Begin the runs of an event, and end the waits for it; returns the ids of the runs, old ones included.

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
