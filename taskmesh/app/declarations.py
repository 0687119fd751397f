"""What an app declares at its mesh: tasks, flows, circuit breakers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from taskmesh.app.waits import Waits
from taskmesh.errors import UsageError
from taskmesh.model.breakers import BreakerOptions, breaker_rules
from taskmesh.model.hooks import Hook
from taskmesh.model.policies import Retry
from taskmesh.model.subflows import OnParentClose
from taskmesh.tasks.flow import FlowDefinition, make_flow
from taskmesh.tasks.mapping import IndexHandle, ItemHandle
from taskmesh.tasks.placeholders import EndHandle, ParamHandle
from taskmesh.tasks.registry import NodeTypeCatalog, Registry
from taskmesh.tasks.subflows import subflow_of
from taskmesh.tasks.task import Owner, Task, TaskOptions, make_task, policy_of
from taskmesh.tasks.trace import Handle, Trace, current_trace
from taskmesh.tasks.typed import TypedNodes

P = ParamSpec("P")
R = TypeVar("R")


class Declarations(Owner, Waits):
    """The declaring half of a mesh; the other half submits what is declared."""

    def __init__(self, node_types: NodeTypeCatalog | None = None) -> None:
        self.registry = Registry(node_types)

    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...

    @overload
    def task(self, /, **options: Unpack[TaskOptions]) -> Callable[[Callable[P, R]], Task[P, R]]: ...

    def task(self, function: Callable[..., Any] | None = None, /, **options: Unpack[TaskOptions]) -> Any:
        """Register a function as a task, as ``@mesh.task`` or ``@mesh.task(pool="io", retry=Retry(max_attempts=3))``.

        Limits are in seconds. ``timeout`` is for one attempt: when it is over, the process that runs it is killed.
        ``schedule_to_start`` is for an attempt's wait for a worker, ``schedule_to_close`` for all attempts together.
        ``heartbeat_timeout`` is for the time between two calls of ``current_task().heartbeat()``; it kills, too.
        What a node of a flow file says stands above these. ``breaker`` names a circuit breaker that was declared with
        ``mesh.breaker``; while that refuses, ``fallback``, a task with the same parameters, runs in its place.
        ``compensate`` is the task that undoes this one (see ``Task.compensate``).

        :raises UsageError: for a function that cannot be a task, a name that is taken, or a limit out of its range.
        """
        policy = policy_of(options, self.registry.breakers)

        def register(function: Callable[P, R]) -> Task[P, R]:
            task = make_task(function, policy, options.get("name"), self)
            self.registry.add(task)
            return task

        return register if function is None else register(function)

    def register(self, function: Callable[P, R], options: Mapping[str, Any]) -> Task[P, R]:
        """What ``task.compensate(...)`` calls."""
        task: Task[P, R] = self.task(**options)(function)
        return task

    def breaker(self, name: str, **options: Unpack[BreakerOptions]) -> None:
        """Declare a circuit breaker, for ``@mesh.task(breaker=name)``. All processes share its state.

        It opens after ``failures`` in a row (5); or, with a ``failure_rate`` above 0 and up to 1, when that part of at
        least ``min_calls`` (10) calls in the last ``window_seconds`` (60) has failed. Exceptions in ``exclude`` (names
        or classes) are no failures. After ``reset_seconds`` (30) one node may try; when it has succeeded, those that
        waited come back over ``ramp_seconds`` (10, or the reset where that is shorter), more and more at a time.

        :raises UsageError: for a value out of its range, or a name that is declared with other rules.
        """
        self.registry.declare(breaker_rules(name, options))

    def switch(self, cases: Mapping[str, Any], otherwise: Any = None) -> Handle:
        """In a flow, choose between nodes: those of the first case run whose condition holds, the others are skipped.

        ``cases`` maps conditions in CEL to what calling a task returned, or to a list of that. ``otherwise`` is what
        runs where none holds, ``[]`` for nothing; without it the switch fails then. Its output is the name of the
        first node that it leads to.

        :raises UsageError: outside of a flow, or for anything that is no node of the flow.
        """
        trace = current_trace()
        if trace is None:
            raise UsageError("mesh.switch() is for functions with @mesh.flow; elsewhere, Python's own if will do")
        return trace.switch(cases, otherwise)

    def subflow(
        self,
        flow: FlowDefinition[Any] | str,
        /,
        params: Mapping[str, Any] | None = None,
        *,
        retry: Retry | None = None,
        timeout: float | None = None,
        on_parent_close: str = OnParentClose.CANCEL,
    ) -> Any:
        """In a flow, add a node that begins a child run of another flow, waits for its end, and has its result.

        ``flow`` is a flow with ``@mesh.flow``, or names a registered one: ``NAME``, ``NAME@NUMBER`` or ``NAME@latest``.
        ``params`` may hold what calling a task returned. With ``retry``, a child that fails is followed by a fresh one.
        ``timeout`` is how long a child may take, in seconds. ``on_parent_close`` says what becomes of it when the
        parent is cancelled, fails or is terminated: ``cancel`` ends it, too; ``abandon`` lets it go on.

        :raises UsageError: outside of a flow, for a name that is none, an unknown policy, or no usable ``timeout``.
        """
        trace = current_trace()
        if trace is None:
            raise UsageError("mesh.subflow() is for functions with @mesh.flow; elsewhere, submit the flow")
        return trace.step(*subflow_of(flow, params or {}, retry, timeout, on_parent_close))

    def repeat(
        self,
        what: FlowDefinition[Any] | Task[Any, Any] | TypedNodes | str,
        /,
        params: Mapping[str, Any] | None = None,
        *,
        until: str,
        max_iterations: int,
        last_as: str = "",
        count_as: str = "",
        retry: Retry | None = None,
        timeout: float | None = None,
        on_parent_close: str = OnParentClose.CANCEL,
    ) -> Any:
        """In a flow, add a node that runs a flow, a task or a node type again and again, until a condition holds.

        Each iteration is a child run, as of ``subflow``; the output of the node is the result of the last one.
        ``until`` is CEL over ``output``, the result of the iteration, and ``iteration``, counted from 1. Where it does
        not hold after ``max_iterations`` the node fails. ``last_as`` names the parameter that gets what the iteration
        before gave, null in the first, ``count_as`` the one that gets its number; the config of a node type has these
        as entries. With ``retry``, an iteration that
        fails is followed by a fresh loop. ``timeout`` is for one iteration.

        :raises UsageError: as of ``subflow``. :raises NodeConfigError: the config breaks the rules of the node type.
        """
        trace = current_trace()
        if trace is None:
            raise UsageError("mesh.repeat() is for functions with @mesh.flow; elsewhere, Python's own while will do")
        if isinstance(what, TypedNodes):
            told = {name: ParamHandle(trace, name) for name in (last_as, count_as) if name}
            what = what.task(trace, {**(params or {}), **told})
        called = subflow_of(what, params or {}, retry, timeout, on_parent_close)
        return trace.step(*called.repeated(until, max_iterations, last_as, count_as))

    def node_type(self, name: str, /, **options: Unpack[TaskOptions]) -> TypedNodes:
        """Nodes of a node type for flows, as ``fetch = mesh.node_type("http", retry=Retry(max_attempts=3))``.

        In a flow's function, ``fetch(url="https://example.com/")`` adds a node; its arguments are what a flow file has
        below ``with``, and may hold handles and parameters. ``options`` are those of ``@mesh.task``.

        :raises UsageError: for an option that is not one, or out of its range.
        """
        return TypedNodes(name, policy_of(options, self.registry.breakers), self.registry)

    def on_success(self, hook: Any) -> None:
        """In a flow, let a task that was called just for this run when the run is about to end well.

        As ``on_failure`` and ``finally_``, it runs when all else of the run has ended, and changes nothing of its end.

        :raises UsageError: outside of a flow, for anything but a call of a task, or a second hook of this kind.
        """
        _trace("on_success").hook(Hook.ON_SUCCESS, hook, None)

    def on_failure(self, hook: Any) -> None:
        """In a flow, let a task run when the run is about to end as failed. See ``on_success``."""
        _trace("on_failure").hook(Hook.ON_FAILURE, hook, None)

    def finally_(self, hook: Any) -> None:
        """In a flow, let a task run when the run is about to end, however that is. See ``on_success``."""
        _trace("finally_").hook(Hook.FINALLY, hook, None)

    @property
    def ended(self) -> EndHandle:
        """In a flow, for the arguments of hooks: how that has ended which the hook observes.

        ``mesh.ended["status"]``, ``mesh.ended["node"]`` and ``mesh.ended["error"]``, which has a type and a message.

        :raises UsageError: outside of a flow.
        """
        return _trace("ended").ended

    @property
    def item(self) -> ItemHandle:
        """In a flow, for the arguments of what is mapped: the item, ``mesh.item["path"]`` a part of it.

        :raises UsageError: outside of a flow.
        """
        return ItemHandle(_trace("item"))

    @property
    def index(self) -> IndexHandle:
        """In a flow, for the arguments of what is mapped: the place of the item among all, counted from 0.

        :raises UsageError: outside of a flow.
        """
        return IndexHandle(_trace("index"))

    @overload
    def flow(self, function: Callable[P, Any], /) -> FlowDefinition[P]: ...

    @overload
    def flow(
        self,
        /,
        *,
        version: str = ...,
        name: str | None = None,
        on_failure: str = ...,
        shard_by: str = ...,
        timeout: float | None = None,
        events: str = ...,
        on: Mapping[str, Any] | None = None,
    ) -> Callable[[Callable[P, Any]], FlowDefinition[P]]: ...

    def flow(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Declare a flow by a function that calls tasks, as ``@mesh.flow`` or ``@mesh.flow(version="3")``.

        A run may take ``timeout`` seconds where its submitter gives no ``deadline_seconds``. ``events`` says which ends
        are published for others: ``"runs"``, or ``"nodes"``, too; ``"none"`` where nothing is said. ``on`` says which
        events begin runs, as ``{"event": "order.created", "params": {"order_id": "${event.data.id}"}}``, while a
        version that says so is active.

        :raises UsageError: for a function that cannot describe a flow.
        """

        def define(function: Callable[P, Any]) -> FlowDefinition[P]:
            return make_flow(function, **options)

        return define if function is None else define(function)


def _trace(what: str) -> Trace:
    trace = current_trace()
    if trace is None:
        raise UsageError(f"mesh.{what} is for functions with @mesh.flow")
    return trace
