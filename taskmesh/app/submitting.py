"""What can be said of a run when it is submitted, beside its flow and its parameters."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from taskmesh.app.submittable import Submittable
from taskmesh.errors import UsageError
from taskmesh.tasks.task import Task

if TYPE_CHECKING:
    from taskmesh.dispatch.plan import Plan
    from taskmesh.model.flow import Flow
    from taskmesh.model.run_context import RunContext


class SubmitOptions(TypedDict, total=False):
    """The options of a submission; None is the same as leaving one out. See ``Mesh.submit``."""

    tags: Mapping[str, str] | None
    deadline_seconds: float | None
    metadata: Mapping[str, str] | None
    request_id: str | None
    tenant: str | None
    traceparent: str | None
    tracestate: str | None


def context_of(options: SubmitOptions) -> RunContext:
    """What the options say of the request that a run serves."""
    from taskmesh.model.run_context import RunContext

    ids = options.get("request_id"), options.get("tenant")
    trace = options.get("traceparent"), options.get("tracestate")
    metadata = options.get("metadata")
    return RunContext(*ids, *trace, {} if metadata is None else metadata)


def refuse_names_of_params(what: Submittable, flow: Flow | Plan, options: SubmitOptions) -> None:
    """:raises UsageError: something is said of the request under a name that a parameter of the flow has."""
    for name in _OF_THE_REQUEST:
        if options.get(name) is not None and name in _params(what, flow):
            raise UsageError(
                f"what is submitted has a parameter {name!r}, and submit() takes {name}= for what is said of the "
                "request; give the parameters by submit_params(), in a mapping"
            )


_OF_THE_REQUEST = ("metadata", "request_id", "tenant", "traceparent", "tracestate")


def _params(what: Submittable, flow: Flow | Plan) -> Collection[str]:
    if isinstance(what, Task):
        return [name for name, _ in what.parameters]
    definition: Any = getattr(flow, "flow", flow)
    return [param.name for param in definition.params]
