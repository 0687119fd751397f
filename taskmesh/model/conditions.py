"""Conditions in CEL over the parameters of a run and the ends of needed nodes, as ``params.amount > 1000``.

They see ``params.NAME``, ``nodes.NAME.output``, ``nodes.NAME.state`` and ``run.metadata.KEY``, or ``nodes["NAME"]...``
where a name has a dash. All that makes a condition slow or deep is refused when it is loaded, so evaluating it takes
microseconds.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from taskmesh.expressions.cel import Expression, ExpressionError
from taskmesh.model.condition_text import ConditionError, Tokens, bounded, macros, member, said
from taskmesh.model.flow import Param, ParamType
from taskmesh.model.run_context import METADATA, problem_of

RUN = "run"  # as the kind of what is read: the run itself
ROOTS: Mapping[str, Collection[str]] = {"params": (), "nodes": (), RUN: ()}

MAX_SHOWN = 8
SHOWN_LENGTH = 80

_FORMS = "write params.NAME, nodes.NAME.output, nodes.NAME.state or run.metadata.KEY"


class Used(NamedTuple):
    """Something that a condition reads.

    ``params`` and a name, ``output`` or ``state`` and the name of a node, or ``run`` and what is said of the run.
    """

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}.{self.name}" if self.kind in ("params", RUN) else f"nodes.{self.name}.{self.kind}"


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that keeps to the limits."""

    text: str
    uses: tuple[Used, ...]

    @property
    def params(self) -> tuple[str, ...]:
        return tuple(each.name for each in self.uses if each.kind == "params")

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes of which it reads anything, in order and without repeats."""
        return tuple(dict.fromkeys(each.name for each in self.uses if each.kind in ("output", "state")))

    def evaluate(self, values: Mapping[Used, Any]) -> bool:
        """Whether it holds; ``values`` has what it uses, as far as that is there.

        :raises ConditionError: it is neither true nor false.
        """
        try:
            found = _compiled(self.text).evaluate(_variables(values))
        except ExpressionError as error:
            raise ConditionError(f"{self.text!r} cannot be evaluated: {error} ({self.shown(values)})") from None
        if not isinstance(found, bool):
            raise ConditionError(f"{self.text!r} is {shown_value(found)}, not true or false ({self.shown(values)})")
        return found

    def shown(self, values: Mapping[Used, Any]) -> str:
        """What it reads and what that was, cut to what a line can hold."""
        shown = self.uses[:MAX_SHOWN]
        parts = [f"{each} = {shown_value(values[each])}" if each in values else f"no {each}" for each in shown]
        return ", ".join([*parts, *(["..."] if len(self.uses) > MAX_SHOWN else [])])


def read_over(text: str, names: Mapping[str, Collection[str]], forms: str) -> Expression:
    """A bounded expression over variables of these names; ``forms`` says what may be written.

    Of a name, only the members that stand behind it may be asked for, or any where there are none.

    :raises ConditionError: for text that is none.
    """
    tokens = bounded(text)
    try:
        expression = _compiled(text)
    except ExpressionError as error:
        raise ConditionError(f"is no CEL: {error}") from None
    bound = {name for name, _, _ in macros(tokens)}
    unknown = sorted(set(expression.variables) - bound - set(names))
    if unknown:
        raise ConditionError(f"uses {unknown[0]!r}, which means nothing here; {forms}")
    for name, asked in _members(tokens, bound):
        if names.get(name) and asked not in names[name]:
            raise ConditionError(f"asks for {name}.{asked}; {forms}")
    return expression


def _members(tokens: Tokens, bound: Collection[str]) -> Iterator[tuple[str, str]]:
    """Each name that is not a member itself, and the member that it is asked for."""
    for at, token in enumerate(tokens):
        if token["name"] and token["name"] not in bound and said(tokens, at - 1) != ".":
            asked, _ = member(tokens, at + 1)
            if asked:
                yield token["name"], asked


def read_condition(text: str) -> Condition:
    """:raises ConditionError: for text that is no condition, or one that would not be bounded."""
    uses = tuple(dict.fromkeys(_uses(bounded(text))))
    read_over(text, ROOTS, _FORMS)
    return Condition(text, uses)


def type_problem(condition: Condition, params: Sequence[Param]) -> str:
    """What values of the declared types can never do, as the end of a sentence; empty where nothing is known wrong."""
    types = {param.name: param.type for param in params}
    samples = {each: _sample(each, types) for each in condition.uses if each.kind != "output"}
    if len(samples) < len(condition.uses) or None in samples.values():
        return ""
    try:
        found = _compiled(condition.text).evaluate(_variables(samples))
    except ExpressionError as error:
        return f"can never be evaluated: {error}" if error.is_type else ""
    return "" if isinstance(found, bool) else f"is no condition: it gives {shown_value(found)}, not true or false"


def _sample(used: Used, types: Mapping[str, ParamType]) -> Any:
    if used.kind == RUN:
        return {} if used.name == METADATA else "1"
    return "succeeded" if used.kind == "state" else _SAMPLES.get(types.get(used.name, ParamType.ANY))


_SAMPLES: Mapping[ParamType, Any] = {
    ParamType.STRING: "1",
    ParamType.INTEGER: 1,
    ParamType.NUMBER: 1.5,
    ParamType.BOOLEAN: True,
}


@lru_cache(maxsize=4096)
def _compiled(text: str) -> Expression:
    return Expression(text)


def _variables(values: Mapping[Used, Any]) -> dict[str, Any]:
    params: dict[str, Any] = {}
    nodes: dict[str, dict[str, Any]] = {}
    run: dict[str, Any] = {}
    for (kind, name), value in values.items():
        if kind == "params":
            params[name] = value
        elif kind == RUN:
            _put(run, name.split("."), value)
        else:
            nodes.setdefault(name, {})[kind] = value
    return {"params": params, "nodes": nodes, "run": run}


def _put(run: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    """Let ``run.metadata`` and ``run.metadata.KEY`` be in the same condition."""
    if len(keys) > 1:
        run.setdefault(keys[0], {})[keys[1]] = value
    else:
        run[keys[0]] = {**value, **run.get(keys[0], {})} if isinstance(value, Mapping) else value


def _uses(tokens: Tokens) -> Iterator[Used]:
    for at, token in enumerate(tokens):
        if token["name"] not in ROOTS or said(tokens, at - 1) == ".":
            continue
        name, after = member(tokens, at + 1)
        if not name:
            raise ConditionError(f"uses {token['name']} as a whole; {_FORMS}")
        if token["name"] == "params":
            yield Used("params", name)
            continue
        if token["name"] == RUN:
            key, end = member(tokens, after)
            # What is called is a function over the whole.
            yield _used_of_run(name, "" if said(tokens, end) == "(" else key)
            continue
        part, _ = member(tokens, after)
        if part not in ("output", "state"):
            raise ConditionError(f"asks for {f'nodes.{name}.{part}' if part else f'nodes.{name}'}; {_FORMS}")
        yield Used(part, name)


def _used_of_run(name: str, key: str) -> Used:
    keys = [name, key] if key and name == METADATA else [name]
    if problem := problem_of([RUN, *keys]):
        raise ConditionError(f"asks for run.{'.'.join(keys)}; {problem}")
    return Used(RUN, ".".join(keys))


def shown_value(value: Any) -> str:
    """A value as whoever writes flows knows it, cut to what a line can hold."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = repr(value)
    return text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}..."
