"""The rules for what makes a node run or not: its trigger, its condition, and the switch that leads to it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from taskmesh.model.condition_text import ConditionError
from taskmesh.model.conditions import read_condition, type_problem
from taskmesh.model.depends import DependsError, parse_depends
from taskmesh.model.flow import DEFAULT_POOL, Case, Flow, Node, Switch
from taskmesh.model.policies import NO_LIMITS
from taskmesh.model.problems import Path
from taskmesh.model.triggers import Rule


class Examiner(Protocol):
    """Gathers problems, and knows the names of a draft."""

    def found(self, path: Path, message: str, on_key: bool = False) -> None: ...

    def know_node(self, name: str, path: Path, verb: str) -> None: ...

    def know_param(self, name: str, path: Path) -> None: ...


class Choices:
    """Looks at the triggers, conditions and switches of one draft."""

    def __init__(self, draft: Flow, examiner: Examiner) -> None:
        self._params = draft.params
        self._examiner = examiner
        self._switches = _switches_to(draft.nodes)

    def needed(self, node: Node) -> tuple[str, ...]:
        """The nodes that it needs for these, beside those in its ``needs`` and ``args``."""
        path: Path = ("nodes", node.name)
        names = [*self._of_depends(node, path), *self._of_condition(node.when, (*path, "when"))]
        if node.switch is not None:
            names += self._of_switch(node, node.switch, (*path, "switch"))
        return (*names, *self._switches.get(node.name, ()))

    def look_at_trigger(self, node: Node, needs: Sequence[str]) -> None:
        """``needs`` are all the nodes that it needs."""
        trigger, path = node.trigger, ("nodes", node.name)
        switches = self._switches.get(node.name, ())
        if len(switches) > 1:
            self._examiner.found(path, f"the switches {' and '.join(map(repr, switches))} lead to it; only one may")
        if switches and not trigger.is_plain:
            sentence = f"switch {switches[0]!r} leads to it, so it waits for all that it needs: it can have no {{}}"
            self._examiner.found(path, sentence.format("depends" if trigger.depends else "rule"))
        elif trigger.depends:
            self._look_at_depends(node, needs)
        elif not trigger.is_plain and not needs:
            self._examiner.found((*path, "rule"), f"rule {trigger} is over nodes that it needs, and it needs none")
        elif trigger.rule is Rule.N_OF and not 1 <= trigger.count <= len(needs):
            sentence = f"rule {trigger} must ask for 1 to {len(needs)} of the {len(needs)} nodes that it needs"
            self._examiner.found((*path, "rule"), sentence)

    def _look_at_depends(self, node: Node, needs: Sequence[str]) -> None:
        try:
            named = parse_depends(node.trigger.depends).nodes
        except DependsError:
            return
        for name in needs:
            if name not in named:
                sentence = f"depends does not say how {name!r} must have ended, which it needs too"
                self._examiner.found(("nodes", node.name, "depends"), sentence)

    def _of_depends(self, node: Node, path: Path) -> Sequence[str]:
        if not node.trigger.depends:
            return ()
        place = (*path, "depends")
        try:
            names = parse_depends(node.trigger.depends).nodes
        except DependsError as error:
            self._examiner.found(place, f"depends {error}")
            return ()
        for name in names:
            self._examiner.know_node(name, place, "depends on")
        return names

    def _of_condition(self, text: str, path: Path) -> Sequence[str]:
        if not text:
            return ()
        try:
            condition = read_condition(text)
        except ConditionError as error:
            self._examiner.found(path, f"its condition {error}")
            return ()
        for name in condition.nodes:
            self._examiner.know_node(name, path, "refers to")
        for name in condition.params:
            self._examiner.know_param(name, path)
        if problem := type_problem(condition, self._params):
            self._examiner.found(path, f"its condition {problem}")
        return condition.nodes

    def _of_switch(self, node: Node, switch: Switch, path: Path) -> Iterator[str]:
        self._look_at_cases(switch, path)
        if node.task or node.args or node.retry or node.guard or node.compensation or node.limits != NO_LIMITS:
            self._examiner.found(path, "a switch runs no task, so it has no arguments, policies, limits or undo")
        for number, case in enumerate(switch.cases):
            for name in case.then:
                self._examiner.know_node(name, (*path, number, "then" if case.when else "else"), "leads to")
            yield from self._of_condition(case.when, (*path, number, "when"))

    def _look_at_cases(self, switch: Switch, path: Path) -> None:
        if not switch.targets:
            self._examiner.found(path, "the switch leads to no node")
        named: dict[str, Case] = {}
        for number, case in enumerate(switch.cases):
            if case.when and not case.then:
                self._examiner.found((*path, number), "the case leads to no node; only else may")
            if not case.when and number + 1 < len(switch.cases):
                self._examiner.found((*path, number), "else must be the last of the cases: none after it would be met")
            if set(named.setdefault(case.name, case).then) != set(case.then):
                sentence = f"two cases that lead to different nodes are named {case.name!r}; give one another name"
                self._examiner.found((*path, number), sentence)


def with_pools(nodes: Sequence[Node]) -> list[Node]:
    """The nodes, those that run no task and name no pool in the one of a neighbour: there are workers.

    A switch goes by the first node that it leads to, others by the first that needs them, else by one that they need.
    """
    pools = {node.name: node.pool for node in nodes}
    if not all(pools.values()):
        _spread_pools(pools, _neighbours(nodes))
    return [node if node.pool else _in_pool(node, pools[node.name] or DEFAULT_POOL) for node in nodes]


def _in_pool(node: Node, pool: str) -> Node:
    """A child run is undone from where it was begun."""
    undo = replace(node.compensation, pool=pool) if node.compensation else None
    return replace(node, pool=pool, compensation=undo)


def _spread_pools(pools: dict[str, str], neighbours: Mapping[str, Sequence[str]]) -> None:
    """Give each node without a pool that of the first of its neighbours, or of one that is further away."""
    lacking = [name for name, pool in pools.items() if not pool]
    nearest = {name: next((pools[each] for each in neighbours[name] if pools.get(each)), "") for name in lacking}
    pools |= nearest
    queue = deque(name for name, pool in nearest.items() if pool)
    while queue:
        name = queue.popleft()
        for each in neighbours[name]:
            if pools.get(each) == "":
                pools[each] = pools[name]
                queue.append(each)


def _neighbours(nodes: Sequence[Node]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {node.name: list(node.switch.targets) if node.switch else [] for node in nodes}
    for node in nodes:
        for name in node.needs:
            found.get(name, []).append(node.name)
    for node in nodes:
        found[node.name] += node.needs
    return found


def _switches_to(nodes: Sequence[Node]) -> dict[str, tuple[str, ...]]:
    """For each node that a switch leads to, the switches that do."""
    found: dict[str, tuple[str, ...]] = {}
    for node in nodes:
        for target in node.switch.targets if node.switch else ():
            found[target] = (*found.get(target, ()), node.name)
    return found
