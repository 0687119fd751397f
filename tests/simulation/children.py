"""Nodes of the simulated flows that begin child runs: sub-flows, loops and maps; and what those are runs of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any

from taskmesh.dispatch.plan import Plan
from taskmesh.model.flow import Compensation, Flow, Node, OnFailure, Param
from taskmesh.model.loops import Loop
from taskmesh.model.mapping import ItemFailure, Map, mapped
from taskmesh.model.policies import NO_LIMITS
from taskmesh.model.subflows import ChildStep, OnParentClose, Subflow
from taskmesh.model.waiting import Wait
from tests.simulation.numbers import number_in

NESTED = 0.2
"""How likely a child begins one, too."""

LAST = "last"
"""The parameter with what the iteration before gave."""

MOST_ITERATIONS = 3


def with_children(chance: Random, nodes: tuple[Node, ...], calm: bool) -> tuple[Node, ...]:
    """Some nodes begin a child run instead of running a task. What conditions read is given by tasks alone."""
    if chance.random() >= 0.3:
        return nodes
    read = {name for node in nodes for name in node.needs if f".{name}." in f"{node.when}{node.switch}"}
    return tuple(
        _beginning(chance, node, calm, 1)
        if node.task and not node.guard and node.name not in read and chance.random() < 0.5
        else node
        for node in nodes
    )


def most_children(node: Node) -> int:
    """How many child runs a node begins at most."""
    tries = node.retry.max_attempts if node.retry else 1
    return tries * (node.step.max_iterations if isinstance(node.step, Loop) else 1)


def given_number(plan: Plan, at: int, params: Mapping[str, Any]) -> int:
    """What a node is given beside the outputs of others: its item, or parameters of its run."""
    if plan.flow.copies:
        return at + 1
    args = plan.node(at).args
    texts = [str(each) for each in args.values()] if isinstance(args, Mapping) else []
    return sum(number_in(params[text[9:-1]]) for text in texts if text.startswith("${params."))


def _beginning(chance: Random, node: Node, calm: bool, depth: int) -> Node:
    kind = chance.choice((Subflow, Subflow, Loop, Map))
    if kind is Map:
        return _mapping(chance, node)
    inner = _inner(chance, node.pool, calm, depth, looped=kind is Loop)
    step: ChildStep = Subflow(inline=inner)
    if kind is Loop:
        until = chance.randint(1, MOST_ITERATIONS + 1)
        step = Loop(f"iteration >= {until}", MOST_ITERATIONS, inline=inner, last_as=LAST)
    if chance.random() < 0.15:
        step = replace(step, on_parent_close=OnParentClose.ABANDON)  # type: ignore[type-var]
    undo = Compensation("", node.pool) if any(each.compensation for each in inner.nodes) else None
    return replace(node, task="", args={}, limits=NO_LIMITS, step=step, compensation=undo)


def _mapping(chance: Random, node: Node) -> Node:
    """The number of an item is its place, counted from 1."""
    items = [{"value": at + 1} for at in range(chance.randint(2, 5))]
    goes_on = chance.random() < 0.4
    undo = None if goes_on or chance.random() < 0.5 else Compensation("task", node.pool)
    body = Node(node.name, "task", {"a": "${item}"}, pool=node.pool, retry=node.retry, compensation=undo)
    failure = ItemFailure.CONTINUE if goes_on else ItemFailure.FAIL
    least = chance.choice((0, 1, 0.5)) if goes_on else 0
    step = Map(body, most_at_once=chance.choice((0, 1, 2)), on_item_failure=failure, min_success=least)
    made = mapped(body, step, items)
    return replace(made, needs=node.needs, trigger=node.trigger, when=node.when)


def _inner(chance: Random, pool: str, calm: bool, depth: int, looped: bool) -> Flow:
    """A chain; its last node is a task, whose output is the result."""
    first = Node("n0", "task", {"a": f"${{params.{LAST}}}"} if looped else {}, pool=pool)
    if depth < 2 and not looped and chance.random() < NESTED:
        first = _beginning(chance, first, calm, depth + 1)
    nodes = [_undoable(chance, first)]
    if not calm and chance.random() < 0.5:
        nodes.append(Node("n1", "", needs=("n0",), pool=pool, step=Wait("", None, None, None)))
    before = nodes[-1].name
    given = {f"a{at}": f"${{nodes.{each.name}.output}}" for at, each in enumerate(nodes)}
    nodes.append(_undoable(chance, Node(f"n{len(nodes)}", "task", given, tuple(dict.fromkeys((before, "n0"))), pool)))
    undoes = any(node.compensation for node in nodes)
    policies = list(OnFailure) if undoes else [OnFailure.FAIL_FAST, OnFailure.CONTINUE]
    params = (Param(LAST, required=False),) if looped else ()
    return Flow("inner", "1", tuple(nodes), params, on_failure=chance.choice(policies))


def _undoable(chance: Random, node: Node) -> Node:
    return replace(node, compensation=Compensation("task", node.pool)) if node.task and chance.random() < 0.4 else node
