"""Conditions and switches of the simulated flows, and what each of them must have decided."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

from taskmesh.model.flow import Flow, Node, Switch, case_of
from taskmesh.model.triggers import PLAIN

_PARITY = re.compile(r"nodes\.(\w+)\.output\.value % 2 == ([01])")


def with_choices(chance: Random, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """Some nodes have a condition over an output that they are given, and one may be a switch over those after it."""
    if chance.random() >= 0.4:
        return nodes
    nodes = tuple(_with_condition(chance, node) if chance.random() < 0.4 else node for node in nodes)
    return _with_switch(chance, nodes) if chance.random() < 0.6 else nodes


def lets_pass(flow: Flow, at: int, values: Mapping[str, int], cases: Mapping[str, str]) -> bool:
    """Whether a node's gates let it run: the switch that leads to it, and its condition.

    ``values`` are the outputs of tasks, ``cases`` those of switches.
    """
    node = flow.nodes[at]
    ways = {each.name: each.switch for each in flow.nodes if each.switch and node.name in each.switch.targets}
    is_taken = all(node.name in switch.taken(cases[name]) for name, switch in ways.items())
    return is_taken and (not node.when or _holds(node.when, values))


def case_taken(switch: Switch, values: Mapping[str, int]) -> str:
    """The name of the case that a switch must have gone by."""
    return next(case.name for case in switch.cases if not case.when or _holds(case.when, values))


def _holds(condition: str, values: Mapping[str, int]) -> bool:
    said = _PARITY.fullmatch(condition)
    assert said is not None
    return values[said[1]] % 2 == int(said[2])


def _with_condition(chance: Random, node: Node) -> Node:
    # Where a rule may let it begin early it is given nothing: see works._with_rule.
    return replace(node, when=_parity(chance, node)) if node.args and node.trigger == PLAIN else node


def _parity(chance: Random, node: Node) -> str:
    given = [f"n{name[1:]}" for name in node.args]
    return f"nodes.{chance.choice(given)}.output.value % 2 == {chance.randint(0, 1)}"


def _with_switch(chance: Random, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    able = [node for node in nodes if node.args and _targets(node, nodes)]
    if not able:
        return nodes
    chosen = chance.choice(able)
    targets = _targets(chosen, nodes)
    first = targets[: chance.randint(0, len(targets))]
    rest = targets[len(first) :]
    cases = case_of(_parity(chance, chosen), tuple(first), "first"), case_of("", tuple(rest), "rest")
    switch = replace(chosen, task="", args={}, switch=Switch(cases), retry=None, when="")
    return tuple(switch if node is chosen else _without(node, chosen.name) for node in nodes)


def _targets(switch: Node, nodes: Sequence[Node]) -> list[str]:
    return [node.name for node in nodes if switch.name in node.needs and node.trigger == PLAIN]


def _without(node: Node, name: str) -> Node:
    """The node as it is where the output of another is the name of a case, and no number."""
    given = node.args if isinstance(node.args, Mapping) else {}
    args = {key: value for key, value in given.items() if f".{name}." not in str(value)}
    when = "" if f".{name}." in node.when else node.when
    return replace(node, args=args, when=when)
