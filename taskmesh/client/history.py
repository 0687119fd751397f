"""What has happened to a run: told from the records of its nodes, and from what was kept of what these do not tell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from taskmesh.client.details import RunEvent
from taskmesh.client.left_out import why_not_run
from taskmesh.client.run_reasons import origin_text
from taskmesh.dispatch.plan import BEFORE_UNDOS, Plan
from taskmesh.model.states import NodeState, RunState
from taskmesh.store.records import NodeRecord, RunRecord
from taskmesh.store.remembered import HeardSignal, LostAttempt, Steered
from taskmesh.wire import unpack


def run_history(record: RunRecord, plan: Plan) -> list[RunEvent]:
    """Every transition that is known, in the order of the store's clock."""
    lost: dict[int, list[LostAttempt]] = defaultdict(list)
    for entry in record.history:
        if isinstance(entry, LostAttempt):
            lost[entry.node].append(entry)
    nodes = [event for at in _places(record) for event in _of_node(record, plan, at, lost[at])]
    # In the order in which one follows from another: what happens in one script has one time.
    events = [*_begin(record), *_signals(record, plan), *nodes, *_steering(record, plan), *_end(record)]
    return sorted(events, key=lambda event: event.at)


def _signals(record: RunRecord, plan: Plan) -> Iterator[RunEvent]:
    for entry in record.history:
        if isinstance(entry, HeardSignal):
            yield RunEvent("signal", plan.name_of(entry.node), "", entry.at, by=entry.by, why=entry.why)


def _places(record: RunRecord) -> list[int]:
    """Those of the nodes, and of the undos that had anything to do."""
    return [at for at, node in sorted(record.nodes.items()) if at >= 0 and not node.passes]


def _begin(record: RunRecord) -> Iterator[RunEvent]:
    yield RunEvent("run", None, RunState.RUNNING, record.summary.submitted_at)
    origin = record.summary.forked_from
    if origin is not None:
        why = origin_text(origin) + (f": {origin.why}" if origin.why else "")
        yield RunEvent("fork", None, RunState.PAUSED, record.summary.submitted_at, by=origin.by, why=why)
    if record.forgotten:
        why = f"{record.forgotten} older entries about attempts and decisions are not kept any more"
        yield RunEvent("cut", None, "", record.history[0].at, why=why)


def _steering(record: RunRecord, plan: Plan) -> Iterator[RunEvent]:
    summary = record.summary
    steered = [entry for entry in record.history if isinstance(entry, Steered)]
    for entry in steered:
        if entry.ended:
            yield RunEvent("run", None, entry.ended, entry.ended_at)
        yield RunEvent(entry.kind, None, entry.state, entry.at, by=entry.by, why=entry.why)
    failed = record.nodes.get(record.failed_node) if record.failed_node is not None else None
    if summary.halt and failed is not None and not any(entry.kind == "halt" for entry in steered):
        why = f"node {plan.graph.names[record.failed_node or 0]!r} has failed"
        yield RunEvent("halt", None, summary.halt, failed.finished_at, why=why)


def _end(record: RunRecord) -> Iterator[RunEvent]:
    undone = record.nodes.get(BEFORE_UNDOS)
    if undone is not None:
        yield RunEvent("run", None, RunState.COMPENSATING, undone.ready_at)
    if record.summary.finished_at is not None:
        yield RunEvent("run", None, record.summary.status, record.summary.finished_at)


def _of_node(record: RunRecord, plan: Plan, at: int, lost: Sequence[LostAttempt]) -> Iterator[RunEvent]:
    """The attempts of a node that did not end it, then the last one. Where one was lost, the next one begins."""
    name, stored, before = plan.name_of(at), record.nodes[at], ""
    for entry in lost:
        yield from _of_lost(name, entry, before)
        before = entry.state
    state, cause = stored.state, _cause(record, plan, at)
    if state in (NodeState.RETRYING, NodeState.WAITING):
        return
    if not cause:
        yield from _begun(name, state, stored, before)
    if state.ended:
        why = cause or (_error(record.errors.get(at)) if state is not NodeState.SUCCEEDED else "")
        how = "" if cause else stored.cause
        yield RunEvent("node", name, state, stored.finished_at, stored.attempt, stored.holder, how, why=why)


def _of_lost(name: str, entry: LostAttempt, before: str) -> Iterator[RunEvent]:
    was = NodeState(entry.was)
    if was not in (NodeState.RETRYING, NodeState.WAITING, NodeState.SKIPPED, NodeState.UPSTREAM_FAILED):
        yield from _begun(name, was, entry, before)
    why = entry.why
    if was.ended:
        error = why if was is NodeState.FAILED or was is NodeState.CANCELLED else ""
        yield RunEvent("node", name, was, entry.finished_at, entry.attempt, entry.holder, why=error)
        why = ""
    # What is ended by hand is told by its record.
    if not NodeState(entry.state).ended:
        yield RunEvent("node", name, entry.state, entry.at, entry.attempt, entry.holder, entry.cause, why=why)


def _begun(name: str, state: NodeState, of: NodeRecord | LostAttempt, before: str) -> Iterator[RunEvent]:
    """How an attempt began. ``before`` is the state that the node was left in; if that was ready, it has been told."""
    runs = state is not NodeState.READY and of.started_at > 0
    if before != NodeState.READY and of.ready_at:
        cause = "woken" if before == NodeState.RETRYING else ""
        yield RunEvent("node", name, NodeState.READY, of.ready_at, of.attempt - runs, cause=cause)
    if runs:
        yield RunEvent("node", name, NodeState.RUNNING, of.started_at, of.attempt, of.holder)


def _cause(record: RunRecord, plan: Plan, at: int) -> str:
    """Why a node has ended without an attempt; empty where it had one."""
    stored = record.nodes[at]
    return why_not_run(record, plan, at) or (stored.cause if stored.is_by_hand else "")


def _error(packed: bytes | None) -> str:
    if packed is None:
        return ""
    error = unpack(packed)
    return f"{error['type']}: {error['message']}"
