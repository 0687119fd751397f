"""What a call of another flow adds to a flow that is being traced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from taskmesh.errors import UsageError
from taskmesh.model.durations import duration_problem
from taskmesh.model.flow import Compensation, Flow
from taskmesh.model.flow_versions import FlowReference
from taskmesh.model.loops import Loop
from taskmesh.model.node_types import type_of_task
from taskmesh.model.policies import Retry, RetryPolicy, TimeLimits
from taskmesh.model.problems import Hints
from taskmesh.model.subflows import ChildStep, OnParentClose, Subflow
from taskmesh.tasks.flow import FlowDefinition, single_task_flow
from taskmesh.tasks.task import Task


class CalledFlow(NamedTuple):
    """The arguments of ``Trace.step``."""

    step: ChildStep
    arguments: Mapping[str, Any]
    name: str
    retry: RetryPolicy | None
    limits: TimeLimits

    def repeated(self, condition: str, max_iterations: int, last_as: str, count_as: str) -> CalledFlow:
        """The same again and again."""
        step = self.step
        loop = Loop(condition, max_iterations, step.reference, step.inline, step.on_parent_close, last_as, count_as)
        return self._replace(step=loop)


def subflow_of(
    flow: FlowDefinition[Any] | Task[Any, Any] | str,
    params: Mapping[str, Any],
    retry: Retry | None,
    timeout_seconds: float | None,
    on_parent_close: str,
) -> CalledFlow:
    """:raises UsageError: the name, the policy or the time cannot be one."""
    if on_parent_close not in list(OnParentClose):
        known = [str(each) for each in OnParentClose]
        hint = Hints(known).did_you_mean(on_parent_close)
        raise UsageError(f"on_parent_close must be one of {', '.join(known)}, not {on_parent_close!r}{hint}")
    if timeout_seconds is not None and (problem := duration_problem(timeout_seconds)):
        raise UsageError(f"the timeout of a sub-flow {problem}")
    policy, limits = OnParentClose(on_parent_close), TimeLimits(timeout_seconds)
    reference, inline, name = _flow(flow)
    return CalledFlow(Subflow(reference, inline, policy), params, name, retry.policy if retry else None, limits)


def _flow(what: FlowDefinition[Any] | Task[Any, Any] | str) -> tuple[str, Flow | None, str]:
    if isinstance(what, str):
        return what, None, FlowReference.parse(what).name
    if isinstance(what, Task):
        node = single_task_flow(what.name, what.pool, what.retry, what.limits, what.guard).nodes[0]
        undone = replace(node, compensation=Compensation.by(what.compensator))
        name = type_of_task(what.name) or what.name
        return "", Flow(name, "1", (undone,)), name
    return "", what.compile(), what.name
