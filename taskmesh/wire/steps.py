"""Steps of nodes as plain fields: ``[kind, field...]``, or None for a node that has none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from taskmesh.model.events.waits import EventWait
from taskmesh.model.flow import Node
from taskmesh.model.loops import Loop
from taskmesh.model.mapping import ItemFailure, Map
from taskmesh.model.steps import Step
from taskmesh.model.subflows import OnParentClose, Subflow
from taskmesh.model.waiting import Approve, Default, Sleep, Wait

Fields: TypeAlias = "list[Any]"


class Form(NamedTuple):
    """How one kind is written and read back."""

    write: Callable[[Any], Fields]
    read: Callable[..., Step]


def _map_fields(step: Map) -> Fields:
    rules = step.slice_size, step.slice_by, step.most_at_once, step.on_item_failure
    # A whole number means something else than the same number as a part, so it stays what it is.
    return [*rules, step.min_success]


def _map_of(body: Node, size: int, by: str, most: int, on_item_failure: str, min_success: float) -> Map:
    return Map(body, size, by, most, ItemFailure(on_item_failure), min_success)


def _subflow_fields(step: Subflow) -> Fields:
    # Flows hold nodes, and nodes may hold flows.
    from taskmesh.wire.flows import encode_flow

    return [step.reference, encode_flow(step.inline) if step.inline else None, step.on_parent_close]


def _subflow_of(reference: str, inline: bytes | None, on_parent_close: str) -> Subflow:
    from taskmesh.wire.flows import decode_flow

    return Subflow(reference, decode_flow(inline) if inline else None, OnParentClose(on_parent_close))


def _loop_fields(step: Loop) -> Fields:
    child = _subflow_fields(Subflow(step.reference, step.inline, step.on_parent_close))
    return [step.condition, step.max_iterations, step.last_as, step.count_as, *child]


def _loop_of(condition: str, most: int, last_as: str, count_as: str, *child: Any) -> Loop:
    flow = _subflow_of(*child)
    return Loop(condition, most, flow.reference, flow.inline, flow.on_parent_close, last_as, count_as)


def _wait_fields(step: Wait) -> Fields:
    default = None if step.default is None else [step.default.value]
    return [step.signal, step.payload, float_field(step.timeout_seconds), default]


def _event_wait_fields(step: EventWait) -> Fields:
    return [*_wait_fields(step), step.event, step.filter, float(step.keep_seconds)]


def _event_wait_of(
    signal: str, payload: Any, timeout_seconds: float | None, default: Fields | None, *of_event: Any
) -> EventWait:
    return EventWait(signal, payload, timeout_seconds, None if default is None else Default(*default), *of_event)


def _wait_of(signal: str, payload: Any, timeout_seconds: float | None, default: Fields | None) -> Wait:
    return Wait(signal, payload, timeout_seconds, None if default is None else Default(*default))


def float_field(value: float | None) -> float | None:
    """One form for 30 and 30.0, which are equal and have different bytes."""
    return None if value is None else float(value)


FORMS: Mapping[str, Form] = {
    Subflow.kind: Form(_subflow_fields, _subflow_of),
    Loop.kind: Form(_loop_fields, _loop_of),
    Map.kind: Form(_map_fields, _map_of),
    Sleep.kind: Form(lambda step: [float_field(step.seconds)], Sleep),
    Wait.kind: Form(_wait_fields, _wait_of),
    EventWait.kind: Form(_event_wait_fields, _event_wait_of),
    Approve.kind: Form(lambda step: [float_field(step.timeout_seconds)], Approve),
}
"""By kind."""

WITH_BODY = frozenset({Map.kind})
"""The kinds that run copies of a node, which is the first of the values that they are read from."""


def step_fields(step: Step | None) -> Fields | None:
    return None if step is None else [step.kind, *FORMS[step.kind].write(step)]


def step_of(fields: Fields | None) -> Step | None:
    """Read back what ``step_fields`` wrote.

    :raises ValueError: for a kind that this version does not know. :raises TypeError: for other fields than it has.
    """
    if fields is None:
        return None
    kind, *values = fields
    if kind not in FORMS:
        raise ValueError(f"it has a step of the kind {kind!r}, which this version does not know")
    return FORMS[kind].read(*values)
