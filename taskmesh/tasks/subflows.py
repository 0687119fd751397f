"""What a call of another flow adds to a flow that is being traced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from taskmesh.errors import UsageError
from taskmesh.model.durations import duration_problem
from taskmesh.model.flow_versions import FlowReference
from taskmesh.model.policies import Retry, RetryPolicy, TimeLimits
from taskmesh.model.problems import Hints
from taskmesh.model.subflows import OnParentClose, Subflow
from taskmesh.tasks.flow import FlowDefinition


class CalledFlow(NamedTuple):
    """The arguments of ``Trace.step``."""

    step: Subflow
    arguments: Mapping[str, Any]
    name: str
    retry: RetryPolicy | None
    limits: TimeLimits


def subflow_of(
    flow: FlowDefinition[Any] | str,
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
    if isinstance(flow, str):
        step, name = Subflow(flow, None, policy), FlowReference.parse(flow).name
    else:
        step, name = Subflow("", flow.compile(), policy), flow.name
    return CalledFlow(step, params, name, retry.policy if retry else None, limits)
