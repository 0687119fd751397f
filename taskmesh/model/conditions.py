"""Conditions in CEL over the parameters of a run and the ends of needed nodes, as ``params.amount > 1000``.

They see ``params.NAME``, ``nodes.NAME.output`` and ``nodes.NAME.state``, or ``nodes["NAME"]...`` where a name has a
dash. All that makes a condition slow or deep is refused when it is loaded, so evaluating it takes microseconds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from taskmesh.expressions.cel import Expression, ExpressionError
from taskmesh.model.flow import Param, ParamType

MAX_LENGTH = 1000
MAX_DEPTH = 32
"""Of parentheses, brackets and braces."""

MAX_OPERATORS = 100
"""Operators and members, as in a.b; each may be one level deeper than the one before."""

MACROS = frozenset({"all", "exists", "exists_one"})
"""What goes over a list or the keys of an object: at most once for each of its members."""

FUNCTIONS = frozenset(
    {
        *("has", "size", "contains", "startsWith", "endsWith", "matches"),
        *("int", "uint", "double", "string", "timestamp", "duration"),
        *("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"),
        *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
    }
)

MAX_SHOWN = 8
SHOWN_LENGTH = 80

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<text>[rR]?(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<number>[0-9][0-9A-Za-z.]*)
    | (?P<sign>&&|\|\||[<>=!]=|[-+*/%<>!?:.,()\[\]{}])
    | (?P<bad>\S)
    )""",
    re.VERBOSE,
)
_OPERATORS = frozenset(
    {"&&", "||", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ".", "[", "in"}
)
_WORDS = frozenset({"true", "false", "null", "in"})
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_FORMS = "write params.NAME, nodes.NAME.output or nodes.NAME.state"


class ConditionError(Exception):
    """What is wrong with a condition, or went wrong with it, as the end of a sentence."""


class Used(NamedTuple):
    """Something that a condition reads: ``params`` and a name, or ``output`` or ``state`` and the name of a node."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"params.{self.name}" if self.kind == "params" else f"nodes.{self.name}.{self.kind}"


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
        return tuple(dict.fromkeys(each.name for each in self.uses if each.kind != "params"))

    def evaluate(self, values: Mapping[Used, Any]) -> bool:
        """Whether it holds; ``values`` has what it uses, as far as that is there.

        :raises ConditionError: it is neither true nor false.
        """
        try:
            found = _compiled(self.text).evaluate(_variables(values))
        except ExpressionError as error:
            raise ConditionError(f"{self.text!r} cannot be evaluated: {error} ({self.shown(values)})") from None
        if not isinstance(found, bool):
            raise ConditionError(f"{self.text!r} is {_shortened(found)}, not true or false ({self.shown(values)})")
        return found

    def shown(self, values: Mapping[Used, Any]) -> str:
        """What it reads and what that was, cut to what a line can hold."""
        parts = [
            f"{each} = {_shortened(values[each])}" if each in values else f"no {each}" for each in self.uses[:MAX_SHOWN]
        ]
        return ", ".join([*parts, *(["..."] if len(self.uses) > MAX_SHOWN else [])])


def read_over(text: str, names: Collection[str], forms: str) -> Expression:
    """A bounded expression over variables of these names; ``forms`` says what may be written.

    :raises ConditionError: for text that is none.
    """
    tokens = _bounded(text)
    try:
        expression = _compiled(text)
    except ExpressionError as error:
        raise ConditionError(f"is no CEL: {error}") from None
    bound = {name for name, _, _ in _macros(tokens)}
    unknown = sorted(set(expression.variables) - bound - set(names))
    if unknown:
        raise ConditionError(f"uses {unknown[0]!r}, which means nothing here; {forms}")
    return expression


def _bounded(text: str) -> list[re.Match[str]]:
    if len(text) > MAX_LENGTH:
        raise ConditionError(f"has {len(text)} characters; at most {MAX_LENGTH} are allowed")
    tokens = list(_tokens(text))
    _check_bounds(tokens)
    _check_words(tokens)
    return tokens


def read_condition(text: str) -> Condition:
    """:raises ConditionError: for text that is no condition, or one that would not be bounded."""
    uses = tuple(dict.fromkeys(_uses(_bounded(text))))
    read_over(text, ("params", "nodes"), _FORMS)
    return Condition(text, uses)


def type_problem(condition: Condition, params: Sequence[Param]) -> str:
    """What values of the declared types can never do, as the end of a sentence; empty where nothing is known wrong."""
    types = {param.name: param.type for param in params}
    samples = {
        each: "succeeded" if each.kind == "state" else _SAMPLES.get(types.get(each.name, ParamType.ANY))
        for each in condition.uses
        if each.kind != "output"
    }
    if len(samples) < len(condition.uses) or None in samples.values():
        return ""
    try:
        found = _compiled(condition.text).evaluate(_variables(samples))
    except ExpressionError as error:
        return f"can never be evaluated: {error}" if error.is_type else ""
    return "" if isinstance(found, bool) else f"is no condition: it gives {_shortened(found)}, not true or false"


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
    for (kind, name), value in values.items():
        if kind == "params":
            params[name] = value
        else:
            nodes.setdefault(name, {})[kind] = value
    return {"params": params, "nodes": nodes}


def _tokens(text: str) -> Iterator[re.Match[str]]:
    position = 0
    while token := _TOKEN.match(text, position):
        if token["bad"]:
            raise ConditionError(
                f"has {token['bad']!r} at character {token.start('bad') + 1}, which means nothing here"
            )
        position = token.end()
        yield token


def _said(tokens: Sequence[re.Match[str]], at: int) -> str:
    return tokens[at][0].strip() if 0 <= at < len(tokens) else ""


def _check_bounds(tokens: Sequence[re.Match[str]]) -> None:
    operators = sum(token["sign"] in _OPERATORS or token["name"] == "in" for token in tokens)
    if operators > MAX_OPERATORS:
        raise ConditionError(f"has {operators} operators and members; at most {MAX_OPERATORS} are allowed")
    depth = 0
    for token in tokens:
        depth += (token["sign"] in _CLOSING) - (token["sign"] in _CLOSING.values())
        if depth > MAX_DEPTH:
            raise ConditionError(f"is nested deeper than {MAX_DEPTH} levels")
    inner = [name for name, start, end in _macros(tokens) if any(start < at < end for _, at, _ in _macros(tokens))]
    if inner:
        raise ConditionError("goes over a list inside of another one, which can take very long; do that in a task")


def _check_words(tokens: Sequence[re.Match[str]]) -> None:
    known = FUNCTIONS | MACROS
    for at, token in enumerate(tokens):
        if token["name"] and _said(tokens, at + 1) == "(" and token["name"] not in known | _WORDS:
            raise ConditionError(f"calls {token['name']!r}; known are {', '.join(sorted(known))}")


def _macros(tokens: Sequence[re.Match[str]]) -> Iterator[tuple[str, int, int]]:
    """Each name that a macro binds, and where its parentheses open and close."""
    for at, token in enumerate(tokens):
        if token["name"] in MACROS and _said(tokens, at - 1) == "." and _said(tokens, at + 1) == "(":
            yield _said(tokens, at + 2), at + 1, _closing(tokens, at + 1)


def _closing(tokens: Sequence[re.Match[str]], start: int) -> int:
    depth = 0
    for at in range(start, len(tokens)):
        depth += (tokens[at]["sign"] in _CLOSING) - (tokens[at]["sign"] in _CLOSING.values())
        if depth == 0:
            return at
    return len(tokens)


def _uses(tokens: Sequence[re.Match[str]]) -> Iterator[Used]:
    for at, token in enumerate(tokens):
        if token["name"] not in ("params", "nodes") or _said(tokens, at - 1) == ".":
            continue
        name, after = _member(tokens, at + 1)
        if not name:
            raise ConditionError(f"uses {token['name']} as a whole; {_FORMS}")
        if token["name"] == "params":
            yield Used("params", name)
            continue
        part, _ = _member(tokens, after)
        if part not in ("output", "state"):
            raise ConditionError(f"asks for {f'nodes.{name}.{part}' if part else f'nodes.{name}'}; {_FORMS}")
        yield Used(part, name)


def _member(tokens: Sequence[re.Match[str]], at: int) -> tuple[str, int]:
    """The name in ``.NAME`` or ``["NAME"]`` at a place, and where that ends; empty where neither stands there."""
    if _said(tokens, at) == "." and at + 1 < len(tokens) and tokens[at + 1]["name"]:
        return tokens[at + 1]["name"], at + 2
    if _said(tokens, at) == "[" and _said(tokens, at + 2) == "]" and tokens[at + 1]["text"]:
        return tokens[at + 1]["text"].lstrip("rR")[1:-1], at + 3
    return "", at


def _shortened(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = repr(value)
    return text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}..."
