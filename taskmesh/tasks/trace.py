"""Tracing: a flow's function is run once with placeholders, and each task that it calls becomes a node.

The trace that is going on is known by a context variable, so flows can be traced in several threads at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from taskmesh.errors import FlowError, UsageError
from taskmesh.model.catalog import TaskInfo
from taskmesh.model.flow import SWITCH, Compensation, Node, Switch, case_of
from taskmesh.model.mapping import ARGS, OVER, Map, mapped
from taskmesh.model.references import MAX_DEPTH, escape_text
from taskmesh.model.steps import Step
from taskmesh.model.triggers import PLAIN, Trigger, read_rule, rule_problem
from taskmesh.tasks.placeholders import ParamHandle, Placeholder

_current: ContextVar[Trace | None] = ContextVar("taskmesh_trace", default=None)

_UNFIT_FOR_NAMES = re.compile(r"[^A-Za-z0-9_-]")


def current_trace() -> Trace | None:
    """The trace that is going on here, if any."""
    return _current.get()


@dataclass(slots=True)
class _TracedNode:
    """A node while its name and its needs can still change."""

    name: str
    task: TaskInfo | None
    args: dict[str, Any]
    after: list[_TracedNode] = field(default_factory=list)
    trigger: Trigger = PLAIN
    when: str = ""
    cases: list[tuple[str, list[_TracedNode]]] = field(default_factory=list)
    step: Step | None = None

    def draft(self, args: Mapping[str, Any]) -> Node:
        """The node as it is now, called with ``args``."""
        needs, task = tuple(dict.fromkeys(each.name for each in self.after)), self.task
        if task is not None and isinstance(self.step, Map):
            body = self._running(task, args[ARGS], needs=())
            node = mapped(body, self.step, args[OVER])
            return replace(node, needs=needs, trigger=self.trigger, when=self.when)
        if task is None and self.step is not None:
            return Node(self.name, "", args, needs, pool="", trigger=self.trigger, when=self.when, step=self.step)
        if task is None:
            cases = [case_of(when, tuple(each.name for each in then)) for when, then in self.cases]
            return Node(
                self.name, "", needs=needs, pool="", switch=Switch(tuple(cases)), trigger=self.trigger, when=self.when
            )
        return replace(self._running(task, args, needs), trigger=self.trigger, when=self.when)

    def _running(self, task: TaskInfo, args: Mapping[str, Any], needs: tuple[str, ...]) -> Node:
        policies = task.retry, task.limits, task.guard, Compensation.by(task.compensator)
        return Node(self.name, task.name, args, needs, task.pool, *policies)


class Handle(Placeholder):
    """A node of the flow that is being traced, and the output that it will have."""

    __slots__ = ("_node",)

    def __init__(self, trace: Trace, node: _TracedNode, keys: tuple[str, ...] = ()) -> None:
        super().__init__(trace, keys)
        self._node = node

    def after(self, *handles: Any) -> Handle:
        """Let the node wait until those of ``handles`` have succeeded, without using their outputs.

        :raises UsageError: for anything that is not a node of this flow.
        """
        self._node.after += [self._trace.node_of(handle, f"{self!r}.after()") for handle in handles]
        return self

    def rule(self, rule: str) -> Handle:
        """Say how those that the node needs must have ended: ``any_failed``, ``n_of(2)``; by default all succeed.

        :raises UsageError: for a word that is no rule, or a node that has an expression instead.
        """
        trigger = read_rule(rule)
        if trigger is None:
            raise UsageError(f"{self!r}.rule(): rule {rule_problem(rule)}")
        return self._begin_by(trigger)

    def depends(self, expression: str) -> Handle:
        """Let the node wait for the nodes that an expression names, as ``a.succeeded && (b.failed || c.skipped)``.

        :raises UsageError: when the node has a rule.
        """
        return self._begin_by(Trigger(depends=expression))

    def when(self, condition: str) -> Handle:
        """Skip the node where a condition in CEL is false, as ``params.amount > 1000``.

        :raises UsageError: when the node has a condition.
        """
        if self._node.when:
            raise UsageError(f"{self!r} has a condition already; join the two with &&")
        self._node.when = condition
        return self

    def _begin_by(self, trigger: Trigger) -> Handle:
        if not self._node.trigger.is_plain:
            raise UsageError(f"{self!r} has a rule or an expression already: {self._node.trigger}")
        self._node.trigger = trigger
        return self

    def named(self, name: str) -> Handle:
        """Give the node this name instead of one made from its task's.

        :raises UsageError: when another node of the flow has it.
        """
        self._trace.rename(self._node, name)
        return self

    def _root(self) -> str:
        return f"nodes.{self._node.name}.output"

    def _with_keys(self, keys: tuple[str, ...]) -> Handle:
        return Handle(self._trace, self._node, keys)


class Trace:
    """Gathers the nodes of one flow."""

    def __init__(self, flow: str) -> None:
        self._flow = flow
        self._nodes: list[_TracedNode] = []
        self._names: dict[str, _TracedNode] = {}
        self._numbers: dict[str, int] = {}

    def run(self, function: Callable[..., Any], params: Mapping[str, object]) -> Any:
        """Call a flow's function with a handle for each of ``params``; its result, as a value with references."""
        token = _current.set(self)
        try:
            result = function(**{name: ParamHandle(self, name) for name in params})
        finally:
            _current.reset(token)
        return self._rendered(self._snapshot(result, MAX_DEPTH))

    def call(self, task: TaskInfo, arguments: Mapping[str, Any]) -> Handle:
        """Add a node that runs ``task``."""
        # The caller may change its lists and dicts afterwards.
        args = {name: self._snapshot(value, MAX_DEPTH) for name, value in arguments.items()}
        return self._add(_TracedNode(self._free_name(task.name), task, args))

    def switch(self, cases: Mapping[str, Any], otherwise: Any) -> Handle:
        """Add a node that chooses between others: conditions with the nodes that each leads to, and what is left.

        :raises UsageError: for anything that is not a node of this flow.
        """
        ways = [(when, self._nodes_of(then)) for when, then in cases.items()]
        if otherwise is not None:
            ways.append(("", self._nodes_of(otherwise)))
        return self._add(_TracedNode(self._free_name(SWITCH), None, {}, cases=ways))

    def step(self, step: Step, arguments: Mapping[str, Any], task: TaskInfo | None = None) -> Handle:
        """Add a node that takes a step, with the task that this decides about; ``arguments`` may hold handles."""
        args = {name: self._snapshot(value, MAX_DEPTH) for name, value in arguments.items()}
        name = self._free_name(task.name if task else step.kind)
        return self._add(_TracedNode(name, task, args, step=step))

    def node_of(self, handle: Any, what: str) -> _TracedNode:
        """:raises UsageError: for anything that is not a node of this flow; ``what`` asks for one."""
        if not isinstance(handle, Handle):
            raise UsageError(f"{what} takes what calling a task returned, not {handle!r}")
        self.check_own(handle)
        return handle._node

    def _nodes_of(self, then: Any) -> list[_TracedNode]:
        handles = then if isinstance(then, list | tuple) else [then]
        return [self.node_of(each, "switch()") for each in handles]

    def _add(self, node: _TracedNode) -> Handle:
        self._nodes.append(node)
        self._names[node.name] = node
        return Handle(self, node)

    def rename(self, node: _TracedNode, name: str) -> None:
        other = self._names.get(name)
        if other is not None and other is not node:
            raise UsageError(f"flow {self._flow!r} has a node {name!r} already; give this one another name")
        del self._names[node.name]
        base, _, number = node.name.rpartition("_")
        if base in self._numbers and number.isdecimal():
            self._numbers[base] = min(self._numbers[base], int(number))
        node.name = name
        self._names[name] = node

    def nodes(self) -> tuple[Node, ...]:
        """The draft of every node, in the order of the calls."""
        return tuple(node.draft(self._rendered(node.args)) for node in self._nodes)

    def check_own(self, placeholder: Placeholder) -> None:
        """:raises UsageError: for a placeholder of another flow."""
        if placeholder._trace is not self:
            raise UsageError(f"{placeholder!r} belongs to another flow than {self._flow!r}, or to an earlier run of it")

    def _free_name(self, task: str) -> str:
        base = _UNFIT_FOR_NAMES.sub("_", re.split(r"[.:]", task)[-1])
        if base not in self._names:
            return base
        # Where the last search for this base ended: thousands of calls of one task must not search from 2 each time.
        start = self._numbers.get(base, 2)
        number = next(number for number in count(start) if f"{base}_{number}" not in self._names)
        self._numbers[base] = number + 1
        return f"{base}_{number}"

    def _snapshot(self, value: Any, depth: int) -> Any:
        """A copy in which every text stands for itself; placeholders stay, as their nodes may still be renamed."""
        if isinstance(value, Placeholder):
            self.check_own(value)
            return value
        if isinstance(value, str):
            return escape_text(value)
        if not isinstance(value, Mapping | list | tuple):
            return value
        if depth == 0:
            raise FlowError([f"flow {self._flow!r}: a value is nested deeper than {MAX_DEPTH} levels"])
        if isinstance(value, Mapping):
            return {key: self._snapshot(item, depth - 1) for key, item in value.items()}
        return [self._snapshot(item, depth - 1) for item in value]

    def _rendered(self, value: Any) -> Any:
        if isinstance(value, Placeholder):
            return f"${{{'.'.join((value._root(), *value._keys))}}}"
        if isinstance(value, dict):
            return {key: self._rendered(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._rendered(item) for item in value]
        return value
