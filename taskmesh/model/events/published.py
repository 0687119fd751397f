"""What others hear of runs: one event for each end, of a run or of one of its nodes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from taskmesh.errors import UsageError
from taskmesh.model.states import NodeState, RunState
from taskmesh.model.values import Value

TYPE_PREFIX = "taskmesh"

ROUTING_KEY_BYTES = 255
"""What AMQP can carry."""

MESSAGE_CHARACTERS = 500
"""How much of an error's message an event repeats."""


class EventKind(StrEnum):
    """Whose end it is."""

    RUN = "run"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class Event:
    """The end of a run, or of the ``node`` with this name, at a time in epoch seconds.

    ``data`` is what a consumer gets to know of it: plain values that JSON can hold. ``trace`` is that of the request
    which the run serves, as CloudEvents name it: ``traceparent``, and maybe ``tracestate``; empty where there is none.
    """

    id: str
    kind: EventKind
    state: str
    flow: str
    run_id: str
    at: float
    node: str = ""
    data: Mapping[str, Value] = field(default_factory=dict)
    trace: Mapping[str, str] = field(default_factory=dict)

    @property
    def type(self) -> str:
        """As ``taskmesh.run.succeeded``."""
        return f"{TYPE_PREFIX}.{self.kind}.{self.state}"

    @property
    def subject(self) -> str:
        """``RUN``, or ``RUN/NODE``."""
        return f"{self.run_id}/{self.node}" if self.node else self.run_id

    @property
    def routing_key(self) -> str:
        """``KIND.STATE.FLOW``, cut to what AMQP carries. The flow comes last, since its name may have dots."""
        key = f"{self.kind}.{self.state}.{self.flow}".encode("utf-8", "replace")
        return key[:ROUTING_KEY_BYTES].decode("utf-8", "ignore")


_ENDS: Mapping[str, Collection[str]] = {
    EventKind.RUN: [str(each) for each in RunState if each.ended],
    EventKind.NODE: [str(each) for each in NodeState if each.ended],
}


class EventFilter(NamedTuple):
    """Which events somebody wants; an empty text stands for any."""

    kind: str = ""
    state: str = ""
    flow: str = ""

    @classmethod
    def of(cls, type_: str, flow: str) -> EventFilter:
        """Of a type as ``run``, ``run.failed`` or ``taskmesh.run.failed``.

        :raises UsageError: there is no such type.
        """
        kind, _, state = type_.removeprefix(f"{TYPE_PREFIX}.").partition(".")
        if kind not in ("", *EventKind) or (state and state not in _ENDS.get(kind, ())):
            raise UsageError(f"there is no type of event {type_!r}; write run, node, run.failed, node.skipped ...")
        return cls(kind, state, flow)

    @property
    def binding(self) -> str:
        """What a queue is bound with that gets them all, and maybe more."""
        return f"{self.kind or '*'}.{self.state or '*'}.#"

    def takes(self, fields: Mapping[str, Any]) -> bool:
        """Whether a CloudEvent is one of them."""
        kind, _, state = str(fields.get("type", "")).removeprefix(f"{TYPE_PREFIX}.").partition(".")
        data = fields.get("data")
        flow = data.get("flow") if isinstance(data, Mapping) else None
        return self.kind in ("", kind) and self.state in ("", state) and self.flow in ("", flow)


def error_of(fields: object) -> dict[str, Value] | None:
    """What an event says of a stored error: its type and the start of its message; None where there is none."""
    if not isinstance(fields, Mapping):
        return None
    return {"type": str(fields.get("type", "")), "message": str(fields.get("message", ""))[:MESSAGE_CHARACTERS]}
