"""What ``on`` of a flow has to keep, and what it makes of an event. References and conditions see the event alone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from taskmesh.errors import EventError, UsageError
from taskmesh.expressions.cel import Expression, ExpressionError
from taskmesh.model.conditions import ConditionError, read_over
from taskmesh.model.flow import Flow
from taskmesh.model.on_event import EVENT, FIELDS, TYPE_PATTERN, InboundEvent, OnEvent
from taskmesh.model.params import takes_any_params
from taskmesh.model.problems import Hints, Path, Problem
from taskmesh.model.references import Compiler, Template, compile_value, read_template
from taskmesh.model.resolving import Resolver, follow, steps_of
from taskmesh.model.values import Value

_TYPE = re.compile(TYPE_PATTERN)
_FORMS = "write event.data.KEY, event.id, event.type or event.source"
TYPE_RULE = "the type of an event must be 1-255 printable ASCII characters, without spaces"
_ON: Path = ("on",)


class _EventCompiler(Compiler):
    """Compiles a value that knows an event and nothing else."""

    forms = "write ${event.data.KEY}, ${event.id}, ${event.type} or ${event.source}, and $${ where ${ is meant"

    def resolver_of(self, parts: list[str], path: Path) -> Resolver | None:
        root, *keys = parts
        if root != EVENT or not all(keys) or (keys and keys[0] not in FIELDS):
            return None
        steps = steps_of(keys)
        return lambda params, outputs: follow(params, steps, (EVENT,))


def on_event_problems(flow: Flow) -> Iterator[Problem]:
    """Everything that is wrong with what a flow says of events, if it does."""
    on = flow.on
    if on is None:
        return
    if not _TYPE.fullmatch(on.event):
        yield Problem((*_ON, "event"), TYPE_RULE)
    for key, value in (("params", on.params), ("dedup", on.dedup)):
        yield from read_template(value, (*_ON, key), _EventCompiler()).problems
    if "${" not in on.dedup:
        yield Problem((*_ON, "dedup"), "dedup must refer to the event; as it is, one run would be all that ever begins")
    if on.when and (problem := _condition_problem(on.when)):
        yield Problem((*_ON, "when"), f"the condition {problem}")
    yield from _param_problems(flow, on)


def _condition_problem(text: str) -> str:
    try:
        event_condition(text)
    except ConditionError as error:
        return str(error)
    return ""


def event_condition(text: str) -> Expression:
    """A condition over an event.

    :raises ConditionError: for text that is none.
    """
    return read_over(text, {EVENT}, _FORMS)


def holds(condition: Expression, shown: str, event: InboundEvent) -> bool:
    """Whether a condition, shown to people like this, holds for an event.

    :raises EventError: the event has not what it asks for.
    """
    try:
        found = condition.evaluate({EVENT: event.fields})
    except ExpressionError as error:
        raise EventError(f"{shown!r} cannot be evaluated: {error}") from None
    if not isinstance(found, bool):
        raise EventError(f"{shown!r} is not true or false")
    return found


def _param_problems(flow: Flow, on: OnEvent) -> Iterator[Problem]:
    declared = {param.name: param for param in flow.params}
    for name in on.params:
        if name not in declared and not takes_any_params(flow):
            hint = Hints(declared).did_you_mean(name)
            yield Problem((*_ON, "params", name), f"the flow has no parameter {name!r}{hint}", on_key=True)
    for param in flow.params:
        if param.required and param.name not in on.params:
            yield Problem((*_ON, "params"), f"parameter {param.name!r} of the flow gets no value from the event")


class Begun(NamedTuple):
    """The run that an event begins."""

    run_id: str
    params: Mapping[str, Value]


class Reaction:
    """What a flow makes of events; read once. Safe in threads."""

    def __init__(self, flow_name: str, on: OnEvent) -> None:
        """:raises FlowError: a reference is none. :raises ConditionError: the condition is none."""
        self._flow_name = flow_name
        self._type = on.event
        self._when: Expression | None = event_condition(on.when) if on.when else None
        self._shown = on.when
        self._params: Template = compile_value(on.params, _EventCompiler())
        self._dedup: Template = compile_value(on.dedup, _EventCompiler())

    def begun_by(self, event: InboundEvent) -> Begun | None:
        """The run that an event begins, if any.

        :raises EventError: the event has not what the flow asks it for.
        """
        if event.type != self._type or not self._holds(event):
            return None
        values = event.fields
        try:
            params, key = self._params.resolve(values, {}), self._dedup.resolve(values, {})
        except UsageError as error:
            raise EventError(f"flow {self._flow_name!r}: {error}") from None
        assert isinstance(params, Mapping)
        return Begun(self._run_id(event, key), params)

    def _holds(self, event: InboundEvent) -> bool:
        if self._when is None:
            return True
        try:
            return holds(self._when, self._shown, event)
        except EventError as error:
            raise EventError(f"flow {self._flow_name!r}: {error}") from None

    def _run_id(self, event: InboundEvent, key: Value) -> str:
        """The same for the same event, whoever reckons it."""
        if not isinstance(key, str | int) or isinstance(key, bool):
            raise EventError(
                f"flow {self._flow_name!r}: dedup gives a {type(key).__name__}; it must be a text or integer"
            )
        return f"{EVENT}-{digest(self._flow_name, event.source, str(key))}"


def digest(*parts: str) -> str:
    """A short text that only the same parts have."""
    # Each with its length, so that no two lists of parts are the same text.
    texts = [part.encode("utf-8", "surrogatepass") for part in parts]
    joined = b"".join(len(text).to_bytes(8, "big") + text for text in texts)
    return hashlib.blake2b(joined, digest_size=16).hexdigest()
