"""What a caller sees of a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from taskmesh.client.causes import child_of
from taskmesh.client.counting import Counted
from taskmesh.client.first_failure import run_error
from taskmesh.client.heard import SignalDetails, signal_in
from taskmesh.client.left_out import facts_of, why_not_run
from taskmesh.client.outputs import ValueOf, output_of, value_in_store
from taskmesh.dispatch.gates import BRANCH, CONDITION, Evaluated, evaluated
from taskmesh.dispatch.plan import Plan
from taskmesh.errors import UsageError
from taskmesh.model.breakers import BEHIND_BREAKER, FALLBACK
from taskmesh.model.flow import Node
from taskmesh.model.problems import Hints
from taskmesh.model.run_context import NO_CONTEXT, RunContext
from taskmesh.model.states import NodeState, RunState
from taskmesh.model.waiting import AWAITING, SLEEPING
from taskmesh.store.family import WAITS_FOR_RUN, Origin, Parent
from taskmesh.store.records import INHERITED, Decision, NodeRecord, Pause, RunRecord, RunSummary
from taskmesh.wire import unpack
from taskmesh.wire.run_contexts import decode_context


@dataclass(frozen=True, slots=True)
class NodeDetails:
    """One node of a run. Times in epoch seconds, None = not yet. ``started_at`` is when its last attempt began;
    ``opened_at``, of one that waits for child runs, for a time or a signal, is when it could begin first.

    ``cause`` is ``breaker:NAME`` while its circuit breaker lets it wait, ``sleep``, ``signal`` or ``run:ID`` (a child
    run) while it waits for that, ``fallback`` where that gave the output, and ``inherited`` where that is the output of
    the run from which its own was forked; ``when`` where its condition was false, and ``branch`` where its switch went
    another way. ``conditions`` are those of a node that was taken up, or of the cases of a switch up to the one that
    held; ``rule`` is what it asks of those that it needs, empty where all must succeed, ``hook`` what a hook observes.
    ``signal`` is what it waited for, once that has come; ``child`` the run that it waits for, or has begun last, and
    ``items`` how far that is with those of a map.
    ``output_missing`` says why an output that was put aside cannot be shown.
    ``error`` says why it did not succeed, ``last_error`` what the last attempt that failed said, though a later one may
    have succeeded; both have type, message and traceback. ``undo`` is there when there is, or was, something to undo.
    """

    name: str
    task: str
    status: NodeState
    needs: tuple[str, ...]
    attempts: int = 0
    started_at: float | None = None
    finished_at: float | None = None
    worker: str | None = None
    output: Any = None
    error: dict[str, str] | None = None
    last_error: dict[str, str] | None = None
    decided: str | None = None
    cause: str = ""
    undo: NodeDetails | None = None
    conditions: tuple[Evaluated, ...] = ()
    rule: str = ""
    child: str = ""
    items: Counted | None = None
    signal: SignalDetails | None = None
    output_missing: str = ""
    hook: str = ""
    opened_at: float | None = None


@dataclass(frozen=True, slots=True)
class RunDetails:
    """One run with all its nodes, in the order of the flow. ``dead_letters``: ids of messages of it that lie there.

    ``halt`` says whether it was cancelled or has failed. ``parent`` is whom the end of a child run is told.
    ``registered`` is the number of its flow's version, where that is registered; ``version`` is what the flow itself
    says. ``context`` is what was said of the request that it serves.
    """

    run_id: str
    flow: str
    version: str
    status: RunState
    submitted_at: float
    started_at: float | None
    finished_at: float | None
    tags: dict[str, str] = field(default_factory=dict)
    halt: str = ""
    paused: Pause | None = None
    halted_by: Decision | None = None
    forked_from: Origin | None = None
    parent: Parent | None = None
    error: str | None = None
    nodes: tuple[NodeDetails, ...] = ()
    dead_letters: tuple[str, ...] = ()
    registered: int | None = None
    context: RunContext = NO_CONTEXT

    @property
    def left_to_undo(self) -> tuple[str, ...]:
        """The nodes that are still to be undone."""
        return tuple(node.name for node in self.nodes if node.undo and node.undo.status is not NodeState.SUCCEEDED)

    @property
    def compensates(self) -> bool:
        """Whether it has begun to undo what it did."""
        return self.status.compensates

    @property
    def cause(self) -> str:
        """Why it did not succeed: ``failed`` or ``cancelled``; empty where it did, or may yet."""
        if self.halt or not self.compensates:
            return self.halt
        return str(RunState.FAILED)


@dataclass(frozen=True, slots=True)
class RunEvent:
    """A transition, as it happened; ``at`` in epoch seconds of the store's clock.

    ``kind`` is node, run (its end), halt, pause or resume. ``cause`` says why a node is ready again: ``released``
    (handed back), ``redriven`` (its message or its holder was lost) or ``woken`` (its wait for a new attempt is over),
    or ``signalled`` (its signal came), or what a node waits for: ``breaker:NAME`` (the circuit breaker before it),
    ``sleep`` or ``signal``.

    A history also has the begin of the run, kinds ``fork`` (it comes from another run), ``reopen``, ``signal`` (one
    came for a node) and ``cut`` (older entries are gone), the causes ``inherited`` (from that other run),
    ``taken_over`` (from a worker whose lease was over), ``reset`` (its run was reopened) and ``handed_on`` (its worker
    did not know the task), ``by`` whom a run was steered or a node signalled, and ``why``: the error of an attempt, or
    the reason of a decision.
    """

    kind: str
    node: str | None
    state: str
    at: float
    attempt: int = 0
    holder: str = ""
    cause: str = ""
    by: str = ""
    why: str = ""


def place_of(plan: Plan, run_id: str, node: str) -> int:
    """The place of a node, or of an undo by its name.

    :raises UsageError: the run has no such node.
    """
    place = plan.place_of(node)
    if place is None:
        raise UsageError(f"run {run_id!r} has no node {node!r}{Hints(plan.graph.names).did_you_mean(node)}")
    return place


def read_event(data: bytes, plan: Plan) -> RunEvent:
    """An announcement of the scripts."""
    kind, *fields = unpack(data)
    if kind == "node":
        node, state, at, attempt, holder, *cause = fields
        return RunEvent(kind, plan.name_of(node), state, at, attempt, holder, *cause)
    state, at = fields
    return RunEvent(kind, None, state, at)


def run_details(record: RunRecord, plan: Plan, value_of: ValueOf = value_in_store) -> RunDetails:
    """Everything that is stored of a run, in the words of its flow; ``value_of`` gives the value of a stored output."""
    summary = record.summary
    nodes = tuple(_nodes(record, plan, value_of))
    return RunDetails(
        run_id=summary.run_id,
        flow=summary.flow,
        version=summary.version,
        status=summary.status,
        submitted_at=summary.submitted_at,
        started_at=min((node.started_at for node in nodes if node.started_at), default=None),
        finished_at=summary.finished_at,
        tags=summary.tags,
        halt=summary.halt,
        paused=summary.paused,
        halted_by=summary.halted_by,
        forked_from=summary.forked_from,
        parent=summary.parent,
        error=run_error(record, plan),
        nodes=nodes,
        context=decode_context(record.context),
    )


def _nodes(record: RunRecord, plan: Plan, value_of: ValueOf) -> Iterator[NodeDetails]:
    for position in range(len(plan.flow.nodes)):
        node, stored = plan.node(position), record.nodes.get(position)
        if stored is not None:
            shown = _node(record, position, plan, stored, _undo(record, position, plan, stored, value_of))
            yield _with_output(shown, record.outputs.get(position), value_of)
        else:
            state = NodeState.WAITING if not record.summary.status.ended else NodeState.SKIPPED
            signal = signal_in(record, position, node)
            yield NodeDetails(plan.name_of(position), node.label, state, node.needs, signal=signal, **_begin(node))


def _undo(record: RunRecord, position: int, plan: Plan, stored: NodeRecord, value_of: ValueOf) -> NodeDetails | None:
    if not can_undo(plan, position, stored) or not record.summary.status.compensates:
        return None
    place = plan.undo_of(position)
    undo = record.nodes.get(place)
    if undo is None:
        return NodeDetails(plan.name_of(place), plan.node(place).task, NodeState.WAITING, ())
    return _with_output(_node(record, place, plan, undo), record.outputs.get(place), value_of)


def can_undo(plan: Plan, position: int, stored: NodeRecord) -> bool:
    """Whether a node has done something that can be undone."""
    is_own = stored.state is NodeState.SUCCEEDED and not stored.is_inherited
    return is_own and plan.node(position).compensation is not None


def _node(
    record: RunRecord, position: int, plan: Plan, stored: NodeRecord, undo: NodeDetails | None = None
) -> NodeDetails:
    node = plan.node(position)
    return NodeDetails(
        name=plan.name_of(position),
        task=node.label,
        status=_state(record, stored),
        needs=node.needs,
        attempts=stored.attempt,
        started_at=stored.started_at or None,
        finished_at=stored.finished_at or None,
        worker=stored.holder or None,
        error=_node_error(record, position, plan, stored),
        last_error=_attempt_error(record, position),
        decided=stored.cause if stored.is_by_hand else None,
        cause=stored.cause if stored.cause.startswith(_TOLD_CAUSES) else "",
        undo=undo,
        conditions=_conditions(record, position, plan, stored),
        **_begin(node),
        child=child_of(stored, record.heard.get(position)),
        signal=signal_in(record, position, node),
        opened_at=stored.opened_at if node.step else None,
    )


def _with_output(node: NodeDetails, packed: bytes | None, value_of: ValueOf) -> NodeDetails:
    output = output_of(packed, value_of)
    return replace(node, output=output.value, output_missing=output.missing)


def _begin(node: Node) -> dict[str, Any]:
    return {"rule" if not node.hook else "hook": "" if node.trigger.is_plain else str(node.trigger)}


def _state(record: RunRecord, stored: NodeRecord) -> NodeState:
    """What a node was doing when its run was terminated says nothing any more."""
    cut_off = record.summary.status.ended and not stored.state.ended
    return NodeState.CANCELLED if cut_off else stored.state


def _node_error(record: RunRecord, position: int, plan: Plan, stored: NodeRecord) -> dict[str, str] | None:
    if stored.state in (NodeState.FAILED, NodeState.CANCELLED):
        return _attempt_error(record, position)
    if stored.state not in _LEFT_OUT:
        return None
    return {"type": _LEFT_OUT[stored.state], "message": why_not_run(record, plan, position), "traceback": ""}


_LEFT_OUT = {NodeState.SKIPPED: "Skipped", NodeState.UPSTREAM_FAILED: "UpstreamFailed"}
_TOLD_CAUSES = (BEHIND_BREAKER, FALLBACK, INHERITED, CONDITION, BRANCH, SLEEPING, AWAITING, WAITS_FOR_RUN)


def _conditions(record: RunRecord, position: int, plan: Plan, stored: NodeRecord) -> tuple[Evaluated, ...]:
    """Those of a node that has been taken up; of others nothing is certain yet."""
    has_decided = stored.attempt > 0 or stored.cause == CONDITION
    return evaluated(plan.graph, position, facts_of(record)) if has_decided and not plan.is_undo(position) else ()


def _attempt_error(record: RunRecord, position: int) -> dict[str, str] | None:
    packed = record.errors.get(position)
    error = unpack(packed) if packed is not None else None
    return error and {name: error[name] for name in ("type", "message", "traceback")}


def matches(summary: RunSummary, status: RunState | None, flow: str | None) -> bool:
    return (status is None or summary.status is status) and (flow is None or summary.flow == flow)


def past_events(record: RunRecord, plan: Plan) -> Iterator[RunEvent]:
    """The last thing that happened to each node, in the order of time."""
    stored = sorted(
        record.nodes.items(), key=lambda item: item[1].finished_at or item[1].started_at or item[1].ready_at
    )
    for place, node in stored:
        if place >= 0 and not node.passes:
            at = node.finished_at or node.started_at or node.ready_at
            yield RunEvent("node", plan.name_of(place), node.state, at, node.attempt, node.holder)
