"""What a flow makes of events that begin runs together: to which batch each belongs, and the parameters of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from taskmesh.model.events.batching import Batching, EventBatch
from taskmesh.model.events.on_event import EVENT, MAX_TEXT, InboundEvent, OnEvent
from taskmesh.model.events.on_event_rules import Sieve, digest
from taskmesh.model.events.references import BATCH, EVENTS, BatchCompiler, EventCompiler
from taskmesh.model.references import Template, compile_value
from taskmesh.model.values import Value


class Belonging(NamedTuple):
    """Where an event belongs: to the batch that gathers the events of its ``key``. ``mark`` is what it is known by."""

    gathering_id: str
    key: str
    mark: bytes


class Gatherer:
    """What a flow makes of events that it gathers; read once. Safe in threads."""

    def __init__(self, flow_name: str, on: OnEvent, batching: Batching) -> None:
        """:raises FlowError: a reference is none. :raises ConditionError: the condition is none."""
        self.batching = batching
        self._sieve = Sieve(flow_name, on)
        self._key: Template = compile_value(batching.key, EventCompiler())
        self._params: Template = compile_value(on.params, BatchCompiler())

    def belonging_of(self, event: InboundEvent) -> Belonging | None:
        """Where an event belongs; None for one that the flow does not take.

        :raises EventError: the event has not what the flow asks it for.
        """
        sieve = self._sieve
        if not sieve.lets_through(event):
            return None
        key = sieve.text_of(self._key, event, "key")
        if len(key) > MAX_TEXT or not key.isprintable():
            raise sieve.refusal(f"key gives {key[:80]!r}; it must be at most {MAX_TEXT} printable characters")
        return Belonging(digest(sieve.flow_name, key).hex(), key, digest(event.source, sieve.mark_of(event)))

    def params_of(self, batch: EventBatch) -> Mapping[str, Value]:
        """The parameters of the run that a batch begins.

        :raises EventError: an event has not what the flow asks it for.
        """
        events = [each.fields for each in batch.events]
        known: dict[str, Value] = {"key": batch.key, "size": len(events), "opened_at": batch.opened_at}
        params = self._sieve.value_of(self._params, {EVENTS: events, BATCH: known})
        assert isinstance(params, Mapping)
        return params


def run_id_of(gathering_id: str, number: str) -> str:
    """The id of the run that a batch of a gathering begins: the same, whoever reckons it."""
    return f"{EVENT}-{digest(gathering_id, number).hex()}"
