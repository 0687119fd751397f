"""Why a run failed: the node that did so first, and what it said."""

from __future__ import annotations

from taskmesh.client.left_out import NEEDS
from taskmesh.dispatch.plan import Plan
from taskmesh.model.states import NodeState, RunState
from taskmesh.store.records import RunRecord
from taskmesh.wire import unpack


def first_failure(record: RunRecord, plan: Plan) -> tuple[str, str]:
    """The node that failed first, and what it said."""
    if record.failed_node is None and record.summary.halted_by is not None:
        return "", record.summary.halted_by.why
    position = _root_of(record, record.failed_node or 0)
    error = unpack(record.errors[position]) if position in record.errors else {"type": "", "message": "unknown"}
    return plan.graph.names[position], f"{error['type']}: {error['message']}"


def _root_of(record: RunRecord, position: int) -> int:
    """The failure for which a node could not run; itself where it has failed."""
    stored = record.nodes.get(position)
    if stored is None or stored.state is not NodeState.UPSTREAM_FAILED or not stored.cause.startswith(NEEDS):
        return position
    # What it was told by has ended before, so this comes to an end.
    return _root_of(record, int(stored.cause.removeprefix(NEEDS)))


def run_error(record: RunRecord, plan: Plan) -> str | None:
    """That in one sentence; None where it has not failed."""
    if record.failed_node is None and record.summary.status is not RunState.FAILED:
        return None
    node, reason = first_failure(record, plan)
    return f"node {node!r}: {reason}" if node else reason
