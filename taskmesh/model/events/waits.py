"""Nodes that wait for an event from elsewhere, and how the two find each other without anybody going through all nodes.

A node says which values the data of its event have at some paths. Both sides reckon the same key from the type, the
paths and the values; whoever waits is registered under it, and an event is looked up under it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

from taskmesh.errors import EventError, UnresolvedReferenceError
from taskmesh.expressions.cel import Expression
from taskmesh.model.condition_text import ConditionError
from taskmesh.model.conditions import shown_value
from taskmesh.model.events.on_event import TYPE_PATTERN, InboundEvent
from taskmesh.model.events.on_event_rules import TYPE_RULE, digest, event_condition, holds
from taskmesh.model.flow import Flow, Node
from taskmesh.model.payloads import payload_problem
from taskmesh.model.problems import Path
from taskmesh.model.resolving import follow, steps_of
from taskmesh.model.subflows import ChildStep
from taskmesh.model.values import Value
from taskmesh.model.waiting import Wait

MAX_PATHS = 8
"""In the match of one node."""

KEY_PATTERN = r"[^\s.${}]{1,128}"
PATH_PATTERN = rf"{KEY_PATTERN}(\.{KEY_PATTERN}){{0,15}}"
"""Of what a match names: keys below the data of an event, and places in lists, with dots between them."""

DEFAULT_KEEP_SECONDS = 600.0
MAX_KEEP_SECONDS = 86_400.0

_TYPE = re.compile(TYPE_PATTERN)
_PATH = re.compile(PATH_PATTERN)


@dataclass(frozen=True, slots=True)
class EventWait(Wait):
    """Waits until an event of the type ``event`` comes that matches; its data are the output of the node.

    It matches where its data have the values that the arguments of the node give for their paths, and ``filter`` holds,
    in CEL over the event. ``payload`` is the JSON Schema that its data must keep to. Events that came up to
    ``keep_seconds`` before the node began to wait count, too. A signal to the node can stand in for the event.
    """

    event: str = ""
    filter: str = ""
    keep_seconds: float = DEFAULT_KEEP_SECONDS

    kind: ClassVar[str] = "event"

    @property
    def label(self) -> str:
        return Wait.kind

    def place_of(self, name: str) -> Path:
        return ("match", name)

    def findings(self) -> Iterator[tuple[Path, str]]:
        if not _TYPE.fullmatch(self.event):
            yield ("event",), TYPE_RULE
        if not 0 <= self.keep_seconds <= MAX_KEEP_SECONDS:
            sentence = f"keep must be 0 to {MAX_KEEP_SECONDS:.0f} seconds (1 day), not {self.keep_seconds:g}"
            yield ("keep",), sentence
        if self.filter:
            try:
                event_condition(self.filter)
            except ConditionError as error:
                yield ("filter",), f"the filter {error}"
        yield from Wait.findings(self)


def event_wait_findings(nodes: Sequence[Node]) -> Iterator[tuple[Path, str]]:
    """What is wrong with what nodes match, beside their references."""
    for node in nodes:
        if isinstance(node.step, EventWait) and isinstance(node.args, Mapping):
            for below, sentence in _of_match(node.args):
                yield ("nodes", node.name, "match", *below), sentence


def _of_match(match: Mapping[str, Value]) -> Iterator[tuple[Path, str]]:
    if len(match) > MAX_PATHS:
        yield (), f"match names {len(match)} paths; at most {MAX_PATHS} are allowed"
    for path, value in match.items():
        if not _PATH.fullmatch(path):
            yield (path,), f"{path!r:.200} is no path in the data of an event; write KEY, or KEY.KEY"
        if _canonical(value) is None:
            yield (path,), f"the value for {path!r:.200} {_NO_KEY}, not {shown_value(value)}"


_NO_KEY = "must be a text, a number, true or false"


class Awaited(NamedTuple):
    """What nodes of a flow wait for: events of a type, told apart by the values at these paths, in order.

    Those that come before their nodes wait are to be kept for so long.
    """

    event: str
    paths: tuple[str, ...]
    keep_seconds: float


def awaited_by(node: Node) -> Awaited | None:
    """What a node waits for; None for one that waits for no event."""
    step = node.step
    return Awaited(step.event, tuple(sorted(node.args)), step.keep_seconds) if isinstance(step, EventWait) else None


def awaited_in(flow: Flow) -> Iterator[Awaited]:
    """What the nodes of a flow wait for, and those of flows that stand in them."""
    for node in flow.working:
        awaited = awaited_by(node)
        if awaited is not None:
            yield awaited
        if isinstance(node.step, ChildStep) and node.step.inline:
            yield from awaited_in(node.step.inline)


def key_of_match(event: str, match: Mapping[str, Value]) -> str:
    """The key under which a node waits.

    :raises EventError: nothing can equal one of the values.
    """
    values = {path: _canonical(value) for path, value in match.items()}
    for path, value in values.items():
        if value is None:
            raise EventError(f"what is matched with {path!r} {_NO_KEY}, not {shown_value(match[path])}")
    return _key(event, [(path, values[path] or "") for path in sorted(values)])


def key_of_event(event: InboundEvent, paths: Sequence[str]) -> str | None:
    """The key of an event, told by the values at these paths; None where it has none that a node could ask for."""
    values = [_canonical(_at(event.data, path)) for path in paths]
    pairs = [(path, value) for path, value in zip(paths, values, strict=True) if value is not None]
    return _key(event.type, pairs) if len(pairs) == len(paths) else None


def _at(data: Value, path: str) -> Value:
    try:
        found: Value = follow(data, steps_of(path.split(".")), ())
        return found
    except UnresolvedReferenceError:
        return None


def _key(event: str, pairs: Sequence[tuple[str, str]]) -> str:
    return digest(event, *(part for pair in pairs for part in pair)).hex()


def _canonical(value: Value) -> str | None:
    """A value as a text that only equal ones have; None for one that is compared with nothing. 5 and 5.0 are equal."""
    if isinstance(value, bool):
        return f"bool {value}"
    if isinstance(value, str):
        return f"text {value}"
    if isinstance(value, float) and math.isfinite(value):
        return f"number {int(value) if value.is_integer() else repr(value)}"
    return f"number {value}" if isinstance(value, int) else None


@lru_cache(maxsize=4096)
def _filter(text: str) -> Expression:
    return event_condition(text)


def takes(step: EventWait, event: InboundEvent) -> bool:
    """Whether an event, of the right type and values, is one that a node waits for.

    :raises EventError: that cannot be told, or its data do not keep to the schema.
    """
    if step.filter and not holds(_filter(step.filter), step.filter, event):
        return False
    problem = payload_problem(step.payload, event.data) if step.payload is not None else None
    if problem:
        raise EventError(f"the data of the event do not keep to its schema: {problem}")
    return True
