"""What ``on`` of a flow has to keep, and what it makes of an event. Conditions and what one is known by see the event
alone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from taskmesh.errors import EventError, UsageError
from taskmesh.expressions.cel import Expression, ExpressionError
from taskmesh.model.condition_text import ConditionError
from taskmesh.model.conditions import read_over
from taskmesh.model.events.batching_rules import batching_problems
from taskmesh.model.events.on_event import EVENT, FIELDS, TYPE_PATTERN, InboundEvent, OnEvent
from taskmesh.model.events.references import BatchCompiler, EventCompiler
from taskmesh.model.flow import Flow
from taskmesh.model.params import literal_problem, takes_any_params
from taskmesh.model.problems import Hints, Path, Problem
from taskmesh.model.references import Template, compile_value, read_template
from taskmesh.model.values import Value, Values

_TYPE = re.compile(TYPE_PATTERN)
_FORMS = "write event.data.KEY, event.id, event.type or event.source"
TYPE_RULE = "the type of an event must be 1-255 printable ASCII characters, without spaces"
_ON: Path = ("on",)


def on_event_problems(flow: Flow) -> Iterator[Problem]:
    """Everything that is wrong with what a flow says of events, if it does."""
    on = flow.on
    if on is None:
        return
    if not _TYPE.fullmatch(on.event):
        yield Problem((*_ON, "event"), TYPE_RULE)
    of_params = BatchCompiler() if on.batching else EventCompiler()
    yield from read_template(on.params, (*_ON, "params"), of_params).problems
    yield from read_template(on.dedup, (*_ON, "dedup"), EventCompiler()).problems
    if "${" not in on.dedup:
        yield Problem((*_ON, "dedup"), "dedup must refer to the event; as it is, one run would be all that ever begins")
    if on.when and (problem := _condition_problem(on.when)):
        yield Problem((*_ON, "when"), f"the condition {problem}")
    if on.batching:
        yield from batching_problems(on.batching, _ON)
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
    return read_over(text, {EVENT: FIELDS}, _FORMS)


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
        if param.name in on.params and (problem := literal_problem(param, on.params[param.name])):
            yield Problem((*_ON, "params", param.name), problem)
        if param.required and param.name not in on.params:
            yield Problem((*_ON, "params"), f"parameter {param.name!r} of the flow gets no value from the event")


class Sieve:
    """Which events a flow takes, and by what it knows them; read once. Safe in threads."""

    def __init__(self, flow_name: str, on: OnEvent) -> None:
        """:raises FlowError: a reference is none. :raises ConditionError: the condition is none."""
        self.flow_name = flow_name
        self._type = on.event
        self._when: Expression | None = event_condition(on.when) if on.when else None
        self._shown = on.when
        self._dedup: Template = compile_value(on.dedup, EventCompiler())

    def lets_through(self, event: InboundEvent) -> bool:
        """Whether the flow takes an event.

        :raises EventError: the condition cannot be evaluated.
        """
        return event.type == self._type and self._holds(event)

    def mark_of(self, event: InboundEvent) -> str:
        """By what the flow knows an event of a source again.

        :raises EventError: it has not what the flow asks it for.
        """
        return self.text_of(self._dedup, event, "dedup")

    def text_of(self, template: Template, event: InboundEvent, what: str) -> str:
        """A text or number of an event, as text; errors as of ``value_of``, and where it is none."""
        found = self.value_of(template, {EVENT: event.fields})
        if not isinstance(found, str | int) or isinstance(found, bool):
            raise self.refusal(f"{what} gives a {type(found).__name__}; it must be a text or integer")
        return str(found)

    def value_of(self, template: Template, values: Values) -> Value:
        """:raises EventError: there is not what the template refers to."""
        try:
            return template.resolve(values, {})
        except UsageError as error:
            raise self.refusal(str(error)) from None

    def refusal(self, sentence: str) -> EventError:
        return EventError(f"flow {self.flow_name!r}: {sentence}")

    def _holds(self, event: InboundEvent) -> bool:
        if self._when is None:
            return True
        try:
            return holds(self._when, self._shown, event)
        except EventError as error:
            raise self.refusal(str(error)) from None


class Begun(NamedTuple):
    """The run that an event begins."""

    run_id: str
    params: Mapping[str, Value]


class Reaction:
    """What a flow makes of each event by itself; read once. Safe in threads."""

    def __init__(self, flow_name: str, on: OnEvent) -> None:
        """:raises FlowError: a reference is none. :raises ConditionError: the condition is none."""
        self._sieve = Sieve(flow_name, on)
        self._params: Template = compile_value(on.params, EventCompiler())

    def begun_by(self, event: InboundEvent) -> Begun | None:
        """The run that an event begins, if any. Its id is the same for the same event, whoever reckons it.

        :raises EventError: the event has not what the flow asks it for.
        """
        sieve = self._sieve
        if not sieve.lets_through(event):
            return None
        params, mark = sieve.value_of(self._params, {EVENT: event.fields}), sieve.mark_of(event)
        assert isinstance(params, Mapping)
        return Begun(f"{EVENT}-{digest(sieve.flow_name, event.source, mark).hex()}", params)


def digest(*parts: str) -> bytes:
    """By what a list of texts is known: 16 bytes."""
    # Each with its length, so that no two lists of parts are the same text.
    texts = [part.encode("utf-8", "surrogatepass") for part in parts]
    joined = b"".join(len(text).to_bytes(8, "big") + text for text in texts)
    return hashlib.blake2b(joined, digest_size=16).digest()
