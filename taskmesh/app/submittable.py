"""What a mesh can submit, and the flow that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from taskmesh.tasks.flow import FlowDefinition, single_task_flow
from taskmesh.tasks.task import Task

if TYPE_CHECKING:
    from taskmesh.dispatch.plan import Plan
    from taskmesh.model.flow import Flow

Submittable: TypeAlias = "FlowDefinition[Any] | Flow | Task[Any, Any] | str"
"""What can be submitted; a text names a registered flow: ``NAME``, ``NAME@NUMBER`` or ``NAME@latest``."""


class FlowFinder:
    """Finds flows; the flow of a task that is sent on its own is the same one each time."""

    def __init__(self, registered: Callable[[str], Plan]) -> None:
        self._registered = registered
        self._task_flows: dict[str, Flow] = {}

    def flow_of(self, what: Submittable) -> Flow | Plan:
        """:raises FlowVersionError: no such version is registered, or it is archived."""
        if isinstance(what, str):
            return self._registered(what)
        if isinstance(what, FlowDefinition):
            return what.compile()
        if not isinstance(what, Task):
            return what
        flow = self._task_flows.get(what.name)
        if flow is None:
            flow = single_task_flow(what.name, what.pool, what.retry, what.limits, what.guard)
            self._task_flows[what.name] = flow
        return flow


def arguments_of(what: Submittable, params: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The params, held to the function's signature where a task is run on its own: it declares none."""
    return [what.bind(**each) for each in params] if isinstance(what, Task) else params
