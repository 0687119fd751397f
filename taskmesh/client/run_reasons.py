"""Says in words how a run as a whole goes on, or why it ended, and what can be done about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from taskmesh.model.durations import duration_text
from taskmesh.model.problems import listed
from taskmesh.model.states import RETRIABLE_RUN_STATES, NodeState, RunState
from taskmesh.store.family import Origin
from taskmesh.store.records import Decision, RunSummary

NAMES_TOLD = 5

UNFINISHED = (NodeState.RETRYING, NodeState.READY, NodeState.RUNNING, NodeState.WAITING)
"""What holds a run up stands before what waits for it."""


def run_reasons(summary: RunSummary, states: Mapping[NodeState, int], now: float) -> Iterator[str]:
    """``states`` says how many of its nodes are in which state; ``now`` is the store's time."""
    if summary.status.ended:
        yield _end(summary, now)
    elif summary.status is RunState.COMPENSATING:
        yield f"what it did is being undone; of its undos, {_counted(states)} have not ended"
    elif summary.halt:
        yield f"nothing more of it starts; it ends as {summary.halt} when {_counted(states)} have ended"
    elif summary.paused is not None:
        yield _pause(summary, now)
    else:
        yield f"it goes on: {summary.nodes - summary.remaining} of {summary.nodes} nodes have ended"
    if summary.halted_by is not None and not summary.status.ended:
        yield _decision("it is being cancelled", summary.halted_by, now)
    if summary.parent is not None:
        yield f"node {summary.parent.node!r} of run {summary.parent.run_id} has begun it"
    if summary.forked_from is not None:
        yield f"it was forked from {origin_text(summary.forked_from)}, by {summary.forked_from.by}"


def origin_text(origin: Origin) -> str:
    """Where a fork comes from, as the end of a sentence."""
    nodes = f", from {listed(origin.nodes, NAMES_TOLD)} on" if origin.nodes else ""
    changed = f", with another {listed(origin.changed, NAMES_TOLD)}" if origin.changed else ""
    return f"run {origin.run_id}{nodes}{changed}"


def _counted(states: Mapping[NodeState, int]) -> str:
    found = {state: states.get(state, 0) for state in UNFINISHED}
    return ", ".join(f"{count} {state}" for state, count in found.items() if count) + " nodes"


def _end(summary: RunSummary, now: float) -> str:
    ended = f"it {_PAST.get(summary.status, f'ended as {summary.status}')}"
    if summary.halted_by is not None:
        return _decision(ended, summary.halted_by, now)
    ago = duration_text(now - (summary.finished_at or now))
    return f"{ended} {ago} ago"


_PAST: Mapping[RunState, str] = {
    RunState.SUCCEEDED: "succeeded",
    RunState.FAILED: "failed",
    RunState.CANCELLED: "was cancelled",
    RunState.TERMINATED: "was terminated",
    RunState.COMPENSATED: "did not succeed, and was undone",
    RunState.COMPENSATION_FAILED: "did not succeed, and could not all be undone",
}


def _pause(summary: RunSummary, now: float) -> str:
    pause = summary.paused
    if pause is None:
        return ""
    what = "it is paused" if pause.kind == "user" else f"it is paused to prepare it ({pause.kind})"
    return _decision(what, Decision(pause.by, pause.why, pause.at), now)


def _decision(what: str, who: Decision, now: float) -> str:
    why = f": {who.why}" if who.why else ""
    return f"{what}, by {who.by} {duration_text(now - who.at)} ago{why}"


def run_commands(summary: RunSummary) -> Iterator[str]:
    if summary.paused is not None:
        yield f"taskmesh resume {summary.run_id}"
    if summary.status.ended and summary.status is not RunState.SUCCEEDED:
        yield f"taskmesh show {summary.run_id}"
        if summary.status in RETRIABLE_RUN_STATES:
            yield f"taskmesh retry {summary.run_id}"
    if summary.status is RunState.COMPENSATION_FAILED:
        yield f"taskmesh compensate {summary.run_id}"
