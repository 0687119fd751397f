"""Nodes of the simulated flows that wait: for a time, or for signals that come at any moment; what they must give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import NamedTuple

from taskmesh.dispatch.plan import Plan
from taskmesh.model.flow import Node
from taskmesh.model.policies import NO_LIMITS
from taskmesh.model.waiting import Default, Sleep, Wait

MOST_SECONDS = 10.0
DEFAULT = {"value": 0}


class PlannedSignal(NamedTuple):
    """Something that somebody sends a node, and when."""

    node: str
    id: str
    value: int
    at: float


def with_waits(chance: Random, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """Some nodes wait instead of running a task; what is given to others is the payload of a signal."""
    if chance.random() >= 0.4:
        return nodes
    given = {name for node in nodes for name in node.needs if f".{name}." in f"{node.args}{node.when}{node.switch}"}
    return tuple(_waiting(chance, node, given) if node.task and chance.random() < 0.4 else node for node in nodes)


def planned_signals(chance: Random, nodes: Sequence[Node], begin: float, seconds: float) -> list[PlannedSignal]:
    """Up to two different signals for each node that waits for one, and each of them once or twice."""
    found = []
    for node in nodes:
        for number in range(chance.randint(0, 2) if isinstance(node.step, Wait) else 0):
            value = chance.randint(1, 9)
            times = [begin + chance.uniform(-1.0, seconds) for _ in range(chance.randint(1, 2))]
            found += [PlannedSignal(node.name, f"s{number}", value, max(0.0, at)) for at in times]
    return found


def last_signals(plan: Plan) -> list[PlannedSignal]:
    """One for every node that may wait without end."""
    return [PlannedSignal(node.name, "last", 5, 0.0) for node in plan.flow.nodes if isinstance(node.step, Wait)]


def slept_seconds(nodes: Sequence[Node]) -> float:
    """How long all waits together may take that nobody cuts short."""
    return sum(_longest(node) for node in nodes)


def _longest(node: Node) -> float:
    if isinstance(node.step, Sleep):
        return node.step.seconds or 0.0
    return node.step.timeout_seconds or 0.0 if isinstance(node.step, Wait) else 0.0


def _waiting(chance: Random, node: Node, given: set[str]) -> Node:
    seconds = chance.uniform(0.01, MOST_SECONDS)
    step: Sleep | Wait = Sleep(seconds)
    if node.name in given or chance.random() < 0.6:
        timeout = chance.choice((None, seconds))
        step = Wait("", None, timeout, chance.choice((None, Default(DEFAULT))) if timeout else None)
    return replace(node, task="", args={}, retry=None, limits=NO_LIMITS, step=step)
