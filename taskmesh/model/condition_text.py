"""The text of a condition in CEL, in its tokens: what makes one slow or deep is refused before it is compiled."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TypeAlias

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

Tokens: TypeAlias = "Sequence[re.Match[str]]"


class ConditionError(Exception):
    """What is wrong with a condition, or went wrong with it, as the end of a sentence."""


def bounded(text: str) -> Tokens:
    """:raises ConditionError: for text that would not be bounded, or has what no condition may have."""
    if len(text) > MAX_LENGTH:
        raise ConditionError(f"has {len(text)} characters; at most {MAX_LENGTH} are allowed")
    tokens = list(_tokens(text))
    _check_bounds(tokens)
    _check_words(tokens)
    return tokens


def _tokens(text: str) -> Iterator[re.Match[str]]:
    position = 0
    while token := _TOKEN.match(text, position):
        if token["bad"]:
            raise ConditionError(
                f"has {token['bad']!r} at character {token.start('bad') + 1}, which means nothing here"
            )
        position = token.end()
        yield token


def said(tokens: Tokens, at: int) -> str:
    """What stands at a place; empty outside of the text."""
    return tokens[at][0].strip() if 0 <= at < len(tokens) else ""


def _check_bounds(tokens: Tokens) -> None:
    operators = sum(token["sign"] in _OPERATORS or token["name"] == "in" for token in tokens)
    if operators > MAX_OPERATORS:
        raise ConditionError(f"has {operators} operators and members; at most {MAX_OPERATORS} are allowed")
    depth = 0
    for token in tokens:
        depth += (token["sign"] in _CLOSING) - (token["sign"] in _CLOSING.values())
        if depth > MAX_DEPTH:
            raise ConditionError(f"is nested deeper than {MAX_DEPTH} levels")
    inner = [name for name, start, end in macros(tokens) if any(start < at < end for _, at, _ in macros(tokens))]
    if inner:
        raise ConditionError("goes over a list inside of another one, which can take very long; do that in a task")


def _check_words(tokens: Tokens) -> None:
    known = FUNCTIONS | MACROS
    for at, token in enumerate(tokens):
        if token["name"] and said(tokens, at + 1) == "(" and token["name"] not in known | _WORDS:
            raise ConditionError(f"calls {token['name']!r}; known are {', '.join(sorted(known))}")


def macros(tokens: Tokens) -> Iterator[tuple[str, int, int]]:
    """Each name that a macro binds, and where its parentheses open and close."""
    for at, token in enumerate(tokens):
        if token["name"] in MACROS and said(tokens, at - 1) == "." and said(tokens, at + 1) == "(":
            yield said(tokens, at + 2), at + 1, _closing(tokens, at + 1)


def _closing(tokens: Tokens, start: int) -> int:
    depth = 0
    for at in range(start, len(tokens)):
        depth += (tokens[at]["sign"] in _CLOSING) - (tokens[at]["sign"] in _CLOSING.values())
        if depth == 0:
            return at
    return len(tokens)


def member(tokens: Tokens, at: int) -> tuple[str, int]:
    """The name in ``.NAME`` or ``["NAME"]`` at a place, and where that ends; empty where neither stands there."""
    if said(tokens, at) == "." and at + 1 < len(tokens) and tokens[at + 1]["name"]:
        return tokens[at + 1]["name"], at + 2
    if said(tokens, at) == "[" and said(tokens, at + 2) == "]" and tokens[at + 1]["text"]:
        return tokens[at + 1]["text"].lstrip("rR")[1:-1], at + 3
    return "", at
