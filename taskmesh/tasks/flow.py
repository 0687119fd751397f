"""Flows written as Python functions."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Generic, ParamSpec

from taskmesh.errors import UsageError
from taskmesh.model.breakers import Guard
from taskmesh.model.durations import duration_problem
from taskmesh.model.events.on_event import OnEvent
from taskmesh.model.flow import ALL_PARAMS, Events, Flow, Node, OnFailure, Param, ParamType
from taskmesh.model.policies import NO_LIMITS, RetryPolicy, TimeLimits
from taskmesh.model.subflows import Subflow
from taskmesh.model.validation import complete
from taskmesh.tasks.mapping import MapHandle, map_flow, of_item
from taskmesh.tasks.on_event import on_event_of
from taskmesh.tasks.signature import Signature
from taskmesh.tasks.trace import Trace, current_trace

P = ParamSpec("P")

SINGLE_NODE = "task"
"""The name of the only node of a run that was made by sending a task."""

_TYPES: Mapping[object, ParamType] = {
    str: ParamType.STRING,
    int: ParamType.INTEGER,
    float: ParamType.NUMBER,
    bool: ParamType.BOOLEAN,
    list: ParamType.ARRAY,
    dict: ParamType.OBJECT,
}


_compiling: ContextVar[tuple[FlowDefinition[Any], ...]] = ContextVar("taskmesh_compiling", default=())
"""The flows whose functions are being traced, each called by the one before."""


class FlowDefinition(Generic[P]):
    """A function that describes a flow by calling tasks."""

    def __init__(
        self,
        function: Callable[P, Any],
        name: str,
        version: str,
        on_failure: OnFailure,
        shard_by: str,
        timeout_seconds: float | None = None,
        events: Events = Events.NONE,
        on: OnEvent | None = None,
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name = name
        self.version = version
        self.on_failure = on_failure
        self.shard_by = shard_by
        self.timeout_seconds = timeout_seconds
        self.events = events
        self.on = on
        self._signature = Signature.of(function, name)
        self._params = _params(function, name)
        self._flow: Flow | None = None

    def compile(self) -> Flow:
        """The flow. The function is traced when this is first called.

        :raises FlowError: with every rule that the flow breaks.
        :raises UsageError: when the function uses a placeholder as if it were a value.
        """
        if self._flow is None:
            if self in (above := _compiling.get()):
                raise UsageError(
                    f"flow {self.name!r} calls itself, so it would have no end; register it, and begin it by its name: "
                    f"mesh.subflow({self.name!r}, ...), behind a condition"
                )
            token = _compiling.set((*above, self))
            try:
                self._flow = self._compiled()
            finally:
                _compiling.reset(token)
        return self._flow

    def _compiled(self) -> Flow:
        trace = Trace(self.name)
        result = trace.run(self.function, {param.name: param for param in self._params})
        return complete(
            Flow(
                name=self.name,
                version=self.version,
                nodes=trace.nodes(),
                params=self._params,
                on_failure=self.on_failure,
                shard_by=self.shard_by,
                result=result,
                timeout_seconds=self.timeout_seconds,
                events=self.events,
                on=self.on,
            )
        )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """In the function of another flow, add a node that begins a child run of this one, and waits for its result.

        :raises UsageError: outside of a flow, or for arguments that the flow does not take.
        """
        trace = current_trace()
        if trace is None:
            raise UsageError(f"flow {self.name!r} can be called in the function of another flow alone; submit it")
        return trace.step(Subflow(inline=self.compile()), self._signature.bind(args, kwargs), self.name)

    def map(self, items: Any, /, **params: Any) -> MapHandle:
        """In the function of another flow, add a node that begins a child run of this one for each of ``items``.

        As ``Task.map``: the first parameter that ``params`` leaves free gets the item.

        :raises UsageError: outside of a flow, or for params that the flow does not take.
        """
        trace = current_trace()
        if trace is None:
            raise UsageError(f"flow {self.name!r} can be mapped in the function of another flow alone")
        taken = of_item(trace, items, lambda: self._signature.free(params), params)
        return map_flow(trace, self.compile(), items, self._signature.bind((), {**taken, **params}))

    def __repr__(self) -> str:
        return f"<flow {self.name!r} version {self.version!r}>"


def make_flow(
    function: Callable[P, Any],
    *,
    version: str = "1",
    name: str | None = None,
    on_failure: str = OnFailure.FAIL_FAST,
    shard_by: str = "run",
    timeout: float | None = None,
    events: str = Events.NONE,
    on: Mapping[str, Any] | None = None,
) -> FlowDefinition[P]:
    """The flow that a function describes; ``name`` is the function's where none is given.

    ``timeout`` is how long a run may take, in seconds, whose submitter does not say so. ``events`` says which ends of
    its runs are published: none, runs or nodes. ``on`` says which events begin some, in the words of flow files.

    :raises UsageError: for a function that cannot describe a flow, an unknown ``on_failure`` or ``events``, no
        usable ``timeout``, or an ``on`` that says something else.
    """
    name = name or function.__name__
    if on_failure not in list(OnFailure):
        raise UsageError(f"flow {name!r}: on_failure must be one of {', '.join(OnFailure)}, not {on_failure!r}")
    if events not in list(Events):
        raise UsageError(f"flow {name!r}: events must be one of {', '.join(Events)}, not {events!r}")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise UsageError(f"flow {name!r} must be a plain function, not async and no generator: it only describes")
    if timeout is not None and (problem := duration_problem(timeout)):
        raise UsageError(f"flow {name!r}: timeout {problem}")
    return FlowDefinition(
        function, name, version, OnFailure(on_failure), shard_by, timeout, Events(events), on_event_of(name, on)
    )


def single_task_flow(
    task_name: str,
    pool: str,
    retry: RetryPolicy | None = None,
    limits: TimeLimits = NO_LIMITS,
    guard: Guard | None = None,
) -> Flow:
    """The flow that a task is run as when it is sent on its own; it takes the task's arguments as its params."""
    node = Node(SINGLE_NODE, task_name, ALL_PARAMS, (), pool, retry, limits, guard=guard)
    return Flow(name=task_name, version="1", nodes=(node,))


def _params(function: Callable[..., Any], flow: str) -> tuple[Param, ...]:
    if Signature.of(function, flow).accepts_any:
        raise UsageError(f"flow {flow!r} cannot take **kwargs; name each parameter")
    hints = _hints(function)
    return tuple(
        _param(parameter, hints.get(parameter.name)) for parameter in inspect.signature(function).parameters.values()
    )


def _param(parameter: inspect.Parameter, hint: Any) -> Param:
    kind = _TYPES.get(typing.get_origin(hint) or hint, ParamType.ANY)
    if parameter.default is inspect.Parameter.empty:
        return Param(parameter.name, kind)
    default = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
    return Param(parameter.name, kind, required=False, default=default)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except NameError:
        # A name that only type checkers import; the parameters take any value then.
        return {}
