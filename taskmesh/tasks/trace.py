"""Tracing: a flow's function is run once with placeholders, and each task that it calls becomes a node.

The trace that is going on is known by a context variable, so flows can be traced in several threads at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from itertools import count
from typing import Any, NoReturn

from taskmesh.errors import FlowError, UsageError
from taskmesh.model.catalog import TaskInfo
from taskmesh.model.flow import SWITCH, Node
from taskmesh.model.node_types import MARK
from taskmesh.model.policies import NO_LIMITS, RetryPolicy, TimeLimits
from taskmesh.model.references import MAX_DEPTH, escape_text
from taskmesh.model.steps import Step
from taskmesh.model.triggers import Trigger, read_rule, rule_problem
from taskmesh.tasks.traced_node import TracedNode

_current: ContextVar[Trace | None] = ContextVar("taskmesh_trace", default=None)

_UNFIT_FOR_NAMES = re.compile(r"[^A-Za-z0-9_-]")
_UNFIT_FOR_KEYS = re.compile(r"[.${}]|^$")


def current_trace() -> Trace | None:
    """The trace that is going on here, if any."""
    return _current.get()


def _refused(use: str) -> Callable[..., NoReturn]:
    def refuse(self: Placeholder, *_: object) -> NoReturn:
        raise UsageError(f"{self!r} has no value while the flow is traced, so it cannot be {use}; do that in a task")

    return refuse


class Placeholder:
    """Stands for a value that only a run will have. It can be passed to tasks; ``[key]`` refers to a part of it."""

    __slots__ = ("_keys", "_trace")

    def __init__(self, trace: Trace, keys: tuple[str, ...] = ()) -> None:
        self._trace = trace
        self._keys = keys

    def _root(self) -> str:
        raise NotImplementedError

    def _with_keys(self, keys: tuple[str, ...]) -> Placeholder:
        raise NotImplementedError

    def __getitem__(self, key: object) -> Any:
        """Refer to an entry of an object, or to a position of a list."""
        if not isinstance(key, str | int) or isinstance(key, bool) or _UNFIT_FOR_KEYS.search(str(key)):
            raise UsageError(f"{self!r} cannot be indexed with {key!r}: use a number, or a text without . $ {{ }}")
        return self._with_keys((*self._keys, str(key)))

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        raise UsageError(f'{self!r} has no attribute {name!r}; for an entry of its value write ["{name}"]')

    def __repr__(self) -> str:
        return f"<placeholder ${{{'.'.join((self._root(), *self._keys))}}}>"

    # Where Python would go on with something else than the value, such as the truth of an object that is always true.
    __bool__ = _refused("tested (if, while, and, or, not)")
    __iter__ = __len__ = __contains__ = __reversed__ = _refused("looped over or counted")
    __str__ = __format__ = _refused("made into text")
    __int__ = __float__ = __index__ = _refused("made into a number")
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refused("compared")
    __hash__ = _refused("a key or a member of a set")
    __call__ = _refused("called")
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refused("calculated with")
    __truediv__ = __rtruediv__ = __floordiv__ = __mod__ = __rmod__ = __pow__ = _refused("calculated with")
    __neg__ = __abs__ = __invert__ = __and__ = __or__ = __rshift__ = __lshift__ = _refused("calculated with")


class ParamHandle(Placeholder):
    """A parameter of the flow that is being traced."""

    __slots__ = ("_name",)

    def __init__(self, trace: Trace, name: str, keys: tuple[str, ...] = ()) -> None:
        super().__init__(trace, keys)
        self._name = name

    def _root(self) -> str:
        return f"params.{self._name}"

    def _with_keys(self, keys: tuple[str, ...]) -> ParamHandle:
        return ParamHandle(self._trace, self._name, keys)


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
        self._nodes: list[TracedNode] = []
        self._names: dict[str, TracedNode] = {}
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

    def node_of(self, handle: Any, what: str) -> TracedNode:
        """:raises UsageError: for anything that is not a node of this flow; ``what`` asks for one."""
        if not isinstance(handle, Handle):
            raise UsageError(f"{what} takes what calling a task returned, not {handle!r}")
        self.check_own(handle)
        return handle._node

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
