"""Tracing: a flow's function is run once with placeholders, and each task that it calls becomes a node.

The trace that is going on is known by a context variable, so flows can be traced in several threads at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from itertools import count
from typing import Any

from taskmesh.errors import FlowError, UsageError
from taskmesh.model.catalog import TaskInfo
from taskmesh.model.flow import SWITCH, Node
from taskmesh.model.hooks import Hook
from taskmesh.model.node_types import MARK
from taskmesh.model.policies import NO_LIMITS, RetryPolicy, TimeLimits
from taskmesh.model.references import MAX_DEPTH, escape_text
from taskmesh.model.steps import Step
from taskmesh.model.triggers import Trigger, read_rule, rule_problem
from taskmesh.tasks.placeholders import EndHandle, ParamHandle, Placeholder
from taskmesh.tasks.traced_node import TracedNode

_current: ContextVar[Trace | None] = ContextVar("taskmesh_trace", default=None)

_UNFIT_FOR_NAMES = re.compile(r"[^A-Za-z0-9_-]")


def current_trace() -> Trace | None:
    """The trace that is going on here, if any."""
    return _current.get()


class Handle(Placeholder):
    """A node of the flow that is being traced, and the output that it will have."""

    __slots__ = ("_node",)

    def __init__(self, trace: Trace, node: TracedNode, keys: tuple[str, ...] = ()) -> None:
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

    def on_success(self, hook: Any) -> Handle:
        """Let a task that was called just for this run once the node has succeeded: ``.on_success(tell(order_id))``.

        As with ``on_failure`` and ``finally_``, it becomes a hook, which only observes; nothing can need it.

        :raises UsageError: for anything but a call of a task in this flow, or a second hook of this kind.
        """
        return self._observed_by(Hook.ON_SUCCESS, hook)

    def on_failure(self, hook: Any) -> Handle:
        """Let a task run once the node has failed for good; the failure stays what it is. See ``on_success``."""
        return self._observed_by(Hook.ON_FAILURE, hook)

    def finally_(self, hook: Any) -> Handle:
        """Let a task run once the node has succeeded, failed or was cancelled. See ``on_success``."""
        return self._observed_by(Hook.FINALLY, hook)

    def _observed_by(self, hook: Hook, call: Any) -> Handle:
        self._trace.hook(hook, call, self._node)
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
        if self._node.hook:
            raise UsageError(f"nothing can use the output of {self._node.shown!r}: it is a hook, which only observes")
        return f"nodes.{self._node.name}.output"

    def __repr__(self) -> str:
        return f"<hook {self._node.shown!r}>" if self._node.hook else super().__repr__()

    def _with_keys(self, keys: tuple[str, ...]) -> Handle:
        return Handle(self._trace, self._node, keys)


class Trace:
    """Gathers the nodes of one flow."""

    def __init__(self, flow: str) -> None:
        self._flow = flow
        self._nodes: list[TracedNode] = []
        self._names: dict[str, TracedNode] = {}
        self._numbers: dict[str, int] = {}
        self._hooks: set[tuple[int, Hook]] = set()

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
        return self._add(TracedNode(self._free_name(task.name), task, args))

    def switch(self, cases: Mapping[str, Any], otherwise: Any) -> Handle:
        """Add a node that chooses between others: conditions with the nodes that each leads to, and what is left.

        :raises UsageError: for anything that is not a node of this flow.
        """
        ways = [(when, self._nodes_of(then)) for when, then in cases.items()]
        if otherwise is not None:
            ways.append(("", self._nodes_of(otherwise)))
        return self._add(TracedNode(self._free_name(SWITCH), None, {}, cases=ways))

    def step(
        self,
        step: Step,
        arguments: Mapping[str, Any],
        name: str = "",
        retry: RetryPolicy | None = None,
        limits: TimeLimits = NO_LIMITS,
        task: TaskInfo | None = None,
    ) -> Handle:
        """Add a node that takes a step; ``arguments`` may hold handles. Called after ``name``.

        ``task`` is what the step decides about, where it does.
        """
        args = {name: self._snapshot(value, MAX_DEPTH) for name, value in arguments.items()}
        node = TracedNode(self._free_name(name or step.kind), task, args, step=step, retry=retry, limits=limits)
        return self._add(node)

    @property
    def ended(self) -> EndHandle:
        """How that has ended which a hook observes."""
        return EndHandle(self)

    def node_of(self, handle: Any, what: str) -> TracedNode:
        """:raises UsageError: for anything that is not a node of this flow; ``what`` asks for one."""
        if not isinstance(handle, Handle):
            raise UsageError(f"{what} takes what calling a task returned, not {handle!r}")
        self.check_own(handle)
        return handle._node

    def hook(self, hook: Hook, call: Any, observed: TracedNode | None) -> None:
        """Make the node that a call has added a hook of another, or of the flow.

        :raises UsageError: it runs no task, waits for others, is a hook already, or there is such a hook already.
        """
        node = self.node_of(call, f"{hook}()")
        whose = f"node {observed.name!r}" if observed else f"flow {self._flow!r}"
        if node.task is None or node.after or node.when or not node.trigger.is_plain:
            raise UsageError(f"{hook} of {whose} must be the call of a task, which waits for nothing else")
        if (observed is not None and observed.hook) or any((id(node), kind) in self._hooks for kind in Hook):
            raise UsageError(f"{hook} of {whose}: a hook can have no hooks itself")
        if (id(observed), hook) in self._hooks:
            raise UsageError(f"{whose} has a hook {hook} already")
        self._hooks.add((id(observed), hook))
        self._forget_name(node)
        node.hook, node.observed, node.trigger = hook, observed, Trigger(hook=hook)
        node.after = [observed] if observed else []

    def _nodes_of(self, then: Any) -> list[TracedNode]:
        handles = then if isinstance(then, list | tuple) else [then]
        return [self.node_of(each, "switch()") for each in handles]

    def _add(self, node: TracedNode) -> Handle:
        self._nodes.append(node)
        self._names[node.name] = node
        return Handle(self, node)

    def rename(self, node: TracedNode, name: str) -> None:
        other = self._names.get(name)
        if other is not None and other is not node:
            raise UsageError(f"flow {self._flow!r} has a node {name!r} already; give this one another name")
        if node.hook:
            raise UsageError(f"a hook has the name {node.shown!r}, and no other")
        self._forget_name(node)
        node.name = name
        self._names[name] = node

    def _forget_name(self, node: TracedNode) -> None:
        """Let others have its name."""
        del self._names[node.name]
        base, _, number = node.name.rpartition("_")
        if base in self._numbers and number.isdecimal():
            self._numbers[base] = min(self._numbers[base], int(number))

    def nodes(self) -> tuple[Node, ...]:
        """The draft of every node, in the order of the calls."""
        return tuple(node.draft(self._rendered(node.args)) for node in self._nodes)

    def check_own(self, placeholder: Placeholder) -> None:
        """:raises UsageError: for a placeholder of another flow."""
        if placeholder._trace is not self:
            raise UsageError(f"{placeholder!r} belongs to another flow than {self._flow!r}, or to an earlier run of it")

    def _free_name(self, task: str) -> str:
        base = _UNFIT_FOR_NAMES.sub("_", re.split(r"[.:]", task)[-1].removeprefix(MARK))
        if base not in self._names:
            return base
        # Where the last search for this base ended: thousands of calls of one task must not search from 2 each time.
        start = self._numbers.get(base, 2)
        number = next(number for number in count(start) if f"{base}_{number}" not in self._names)
        self._numbers[base] = number + 1
        return f"{base}_{number}"

    def rendered(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments as a node has them: text that stands for itself, and references in the place of handles."""
        return {name: self._rendered(self._snapshot(value, MAX_DEPTH)) for name, value in arguments.items()}

    def _snapshot(self, value: Any, depth: int) -> Any:
        """A copy in which every text stands for itself; placeholders stay, as their nodes may still be renamed."""
        if isinstance(value, Placeholder):
            self.check_own(value)
            return value
        if not isinstance(value, Mapping | list | tuple):
            return escape_text(value) if isinstance(value, str) else value
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
