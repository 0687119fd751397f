"""The rules for nodes that begin child runs, and for the flows that stand in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from taskmesh.model.flow import Compensation, Flow, Node, OnFailure
from taskmesh.model.mapping import OVER, Map, list_problem
from taskmesh.model.params import literal_problem, takes_any_params
from taskmesh.model.policies import NO_LIMITS
from taskmesh.model.problems import Hints, Path, Problem, quoted
from taskmesh.model.subflows import ChildStep


class Found(Protocol):
    """Notes a problem."""

    def __call__(self, path: Path, message: str, on_key: bool = False) -> None: ...


class ChildRules:
    """Looks at the children of one draft; ``examine`` finds what is wrong with a flow, and completes it."""

    def __init__(self, draft: Flow, found: Found, examine: Callable[[Flow], tuple[Sequence[Problem], Flow]]) -> None:
        self._draft = draft
        self._found = found
        self._examine = examine

    def completed(self, node: Node) -> Node:
        """The node with the flow that stands in it completed, in the pool of that, and with what undoes it."""
        step, path = node.step, ("nodes", node.name)
        assert isinstance(step, ChildStep)
        if isinstance(step, Map) and isinstance(node.args, Mapping) and (problem := list_problem(node.args[OVER])):
            self._found((*path, step.kind), problem)
        if step.works_as:
            return node
        if replace(node.limits, start_to_close=None) != NO_LIMITS:
            self._found(path, "a node that begins a child run has no limits but its timeout")
        if node.task or node.guard:
            self._found(path, "a node that begins a child run has no task and no breaker of its own")
        if step.inline is None:
            return replace(node, compensation=_undo(node))
        # Events begin runs of a flow, not of what it is a part of.
        inner = replace(self._completed(step.inline, node, path), on=None)
        self._look_at_args(node, step, inner, path)
        node = replace(node, step=step.having(inner), pool=node.pool or next(iter(inner.pools), ""))
        return replace(node, compensation=_undo(node) if inner.can_compensate else None)

    def _completed(self, flow: Flow, node: Node, path: Path) -> Flow:
        named = flow if flow.name else replace(flow, name=f"{self._draft.name}.{node.name}")
        problems, inner = self._examine(named)
        for problem in problems:
            self._found((*path, "flow", *problem.path), f"in its flow, {problem}", problem.on_key)
        if inner.on_failure is OnFailure.COMPENSATE and not inner.can_compensate and not problems:
            sentence = "in its flow, on_failure is compensate, but nothing says what would undo any of the nodes"
            self._found((*path, "flow", "on_failure"), sentence)
        return inner

    def _look_at_args(self, node: Node, step: ChildStep, inner: Flow, path: Path) -> None:
        declared = {param.name: param for param in inner.params}
        given = node.args if isinstance(node.args, Mapping) else {}
        if not isinstance(node.args, Mapping):
            self._found((*path, "args"), "args of a node that begins a child run must map names to values")
        for name in (*given, *step.given):
            if name not in declared and not takes_any_params(inner):
                hint = Hints(declared).did_you_mean(name)
                self._found((*path, "args", name), f"its flow has no parameter {name!r}{hint}", on_key=True)
            elif name in declared and name in given and (problem := literal_problem(declared[name], given[name])):
                self._found((*path, "args", name), f"of its flow, {problem}")
        missing = [name for name, param in declared.items() if param.required and name not in (*given, *step.given)]
        if missing:
            self._found((*path, "args"), f"its flow also needs the parameter {quoted(missing)}")


def _undo(node: Node) -> Compensation:
    """Without a task: the child itself is undone."""
    return Compensation("", node.pool)
