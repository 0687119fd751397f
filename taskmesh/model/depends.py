"""Expressions over the ends of needed nodes, as ``a.succeeded && (b.failed || c.skipped)``.

They are compiled to a short program in postfix order, which is run with three values: true, false, and not known yet.
The scripts of the store run the same program; a test holds them to ``Depends.decide``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from taskmesh.model.states import NodeState
from taskmesh.model.triggers import Group, group_of

MAX_LENGTH = 2000
MAX_TERMS = 100
MAX_DEPTH = 32

AND, OR, NOT = "&&", "||", "!"
DONE = "done"
WORDS = (*Group, DONE)
"""What can be asked of a node; a node alone is asked for its success."""

Step: TypeAlias = "Term | str"

_TOKEN = re.compile(
    r"\s*(?:(?P<name>[A-Za-z_][A-Za-z0-9_-]*)(?:\.(?P<word>[A-Za-z_]+))?|(?P<sign>&&|\|\||[!()])|(?P<bad>\S))"
)


class Term(NamedTuple):
    """Whether ``node`` has ended as ``word`` says."""

    node: str
    word: str


class DependsError(Exception):
    """What is wrong with an expression, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Depends:
    """A compiled expression: terms and operators, each operator after what it is applied to."""

    program: tuple[Step, ...]

    @property
    def nodes(self) -> tuple[str, ...]:
        """Those that it names, in order and without repeats."""
        return tuple(dict.fromkeys(step.node for step in self.program if isinstance(step, Term)))

    @property
    def asks_success(self) -> frozenset[str]:
        """Those whose success it asks for."""
        return frozenset(step.node for step in self.program if isinstance(step, Term) and step.word == Group.SUCCEEDED)

    def decide(self, states: Mapping[str, NodeState]) -> NodeState | None:
        """Ready once it is true; what the node ends as once it is false; None while that is not known.

        A node that is missing from ``states`` has not ended.
        """
        groups = {name: group_of(states[name]) if name in states else None for name in self.nodes}
        value = self._run(lambda term: _answer(term, groups[term.node]))
        if value is None:
            return None
        if value:
            return NodeState.READY
        is_blamed = any(groups[name] is Group.FAILED for name in self.asks_success)
        return NodeState.UPSTREAM_FAILED if is_blamed else NodeState.SKIPPED

    def takes_failure(self, node: str) -> bool:
        """Whether it can still become true after ``node`` has failed."""
        return self._run(lambda term: _answer(term, Group.FAILED if term.node == node else None)) is not False

    def _run(self, ask: Callable[[Term], bool | None]) -> bool | None:
        stack: list[bool | None] = []
        for step in self.program:
            if isinstance(step, Term):
                stack.append(ask(step))
            elif step == NOT:
                value = stack.pop()
                stack.append(None if value is None else not value)
            else:
                stack.append(_joined(step, stack.pop(), stack.pop()))
        return stack[0]


def _answer(term: Term, group: Group | None) -> bool | None:
    if group is None:
        return None
    return term.word in (DONE, group)


def _joined(sign: str, one: bool | None, other: bool | None) -> bool | None:
    decisive = sign == OR
    if decisive in (one, other):
        return decisive
    return None if None in (one, other) else not decisive


def parse_depends(text: str) -> Depends:
    """:raises DependsError: for text that is no expression, or a larger one than is allowed."""
    if len(text) > MAX_LENGTH:
        raise DependsError(f"has {len(text)} characters; at most {MAX_LENGTH} are allowed")
    parser = _Parser(text)
    parser.parse_all()
    terms = sum(isinstance(step, Term) for step in parser.program)
    if terms > MAX_TERMS:
        raise DependsError(f"names {terms} ends of nodes; at most {MAX_TERMS} are allowed")
    return Depends(tuple(parser.program))


class _Parser:
    """Reads an expression; && binds stronger than ||, and ! than both."""

    def __init__(self, text: str) -> None:
        self.program: list[Step] = []
        self._tokens = list(_tokens(text))
        self._at = 0

    def parse_all(self) -> None:
        self._any(0)
        if (token := self._next()) is not None:
            raise DependsError(f"has {token[0].strip()!r} where && or || is expected")

    def _next(self) -> re.Match[str] | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _take(self, sign: str) -> bool:
        token = self._next()
        if token is None or token["sign"] != sign:
            return False
        self._at += 1
        return True

    def _any(self, depth: int) -> None:
        self._all(depth)
        while self._take(OR):
            self._all(depth)
            self.program.append(OR)

    def _all(self, depth: int) -> None:
        self._one(depth)
        while self._take(AND):
            self._one(depth)
            self.program.append(AND)

    def _one(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise DependsError(f"is nested deeper than {MAX_DEPTH} levels")
        if self._take(NOT):
            self._one(depth + 1)
            self.program.append(NOT)
        elif self._take("("):
            self._any(depth + 1)
            if not self._take(")"):
                raise DependsError("has a ( without its )")
        else:
            self.program.append(self._term())

    def _term(self) -> Term:
        token = self._next()
        if token is None or token["name"] is None:
            found = "ends" if token is None else f"has {token[0].strip()!r}"
            raise DependsError(f"{found} where a node is expected")
        self._at += 1
        word = token["word"] or Group.SUCCEEDED
        if word not in WORDS:
            known = ", ".join(WORDS)
            raise DependsError(f"asks for {token['name']}.{word}; a node can be {known}")
        return Term(token["name"], str(word))


def _tokens(text: str) -> Iterator[re.Match[str]]:
    position = 0
    while token := _TOKEN.match(text, position):
        if token["bad"]:
            signs = f"{AND}, {OR}, {NOT} and parentheses"
            raise DependsError(f"has {token['bad']!r}, which means nothing here; known are {signs}")
        position = token.end()
        yield token
