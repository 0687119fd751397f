"""What is said of the request that a run serves, in the function of a flow."""

from __future__ import annotations

from taskmesh.errors import UsageError
from taskmesh.tasks.placeholders import Placeholder
from taskmesh.tasks.trace import current_trace


class RunHandle(Placeholder):
    """What is said of the request that a run serves, as ``["metadata"]["plan"]`` or ``["request_id"]``."""

    __slots__ = ()

    def _root(self) -> str:
        return "run"


def run_request() -> RunHandle:
    """In the function of a flow: what will be said of the request that a run serves.

    ``run_request()["metadata"]["plan"]``, ``["request_id"]`` and ``["tenant"]`` can be passed to tasks; what nobody has
    said is None.

    :raises UsageError: outside of a flow's function.
    """
    trace = current_trace()
    if trace is None:
        raise UsageError("no flow is traced here; in a task, current_task().request is what is said of its run")
    return RunHandle(trace)
