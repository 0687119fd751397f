"""The states of nodes and runs, and the one table of what may follow what.

    waiting ──► ready ──► running ──► succeeded
       │          ▲ ▲        │ │├───► failed
       │          │ └────────┘ │├───► cancelled
       │          │  released, │└───► skipped (its condition is false, or its switch went another way)
       │          │  or taken from a dead holder
       │          └─ retrying ◄┘  (or parked: it waits for a time, or for a signal)
       └─► skipped, upstream_failed

Whatever it was doing, an unfinished node can be ended by hand (mark), as succeeded or skipped; and when an ended run is
reopened, any node can be made ready or waiting again (reset), or skipped where that is certain already. While a fork is
being prepared, a waiting node can have succeeded in the run which it comes from (inherit).

A run, and what a user's `compensate` and `retry` or `rerun` do; a run that goes on may also be terminated at any time:

    running ──► succeeded
       ├──────► failed, cancelled ──┐ compensate
       └──────► compensating ◄──────┴── compensation_failed
                   └──► compensated, compensation_failed

The Lua scripts of the store are the only code that carries these transitions out; tests hold
each script to this table.
"""

from __future__ import annotations

from enum import StrEnum


class NodeState(StrEnum):
    """Where a node of a run is."""

    WAITING = "waiting"  # some node that it needs has not ended; has no record in the store unless it has run before
    READY = "ready"  # to be published, or in a shard queue
    RUNNING = "running"  # claimed by a holder
    RETRYING = "retrying"  # an attempt failed, or its time has not come; waits for the next one
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UPSTREAM_FAILED = "upstream_failed"  # a node that it needs has failed, so it could not run
    SKIPPED = (
        "skipped"  # it was not to run: its condition, its switch, or nodes that it needs were skipped or cancelled
    )
    CANCELLED = "cancelled"  # the run was halted before it started

    @property
    def ended(self) -> bool:
        return self in ENDED_NODE_STATES


class RunState(StrEnum):
    """Where a run is."""

    RUNNING = "running"
    PAUSED = "paused"  # it runs, but nothing of it starts until it is resumed; the store keeps that as a field
    COMPENSATING = "compensating"  # it has failed or was cancelled; what it had committed is being undone
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    COMPENSATED = "compensated"  # it failed or was cancelled, and all that could be undone was
    COMPENSATION_FAILED = "compensation_failed"  # the same, but some undos failed and others wait behind them
    TERMINATED = "terminated"  # ended at once, whatever its nodes were doing

    @property
    def ended(self) -> bool:
        return self not in OPEN_RUN_STATES

    @property
    def compensates(self) -> bool:
        """Whether the run has begun to undo what it did."""
        return self in (RunState.COMPENSATING, RunState.COMPENSATED, RunState.COMPENSATION_FAILED)


OPEN_RUN_STATES = frozenset({RunState.RUNNING, RunState.PAUSED, RunState.COMPENSATING})
RETRIABLE_RUN_STATES = frozenset({RunState.FAILED, RunState.CANCELLED, RunState.TERMINATED})

ENDED_NODE_STATES = frozenset(
    {NodeState.SUCCEEDED, NodeState.FAILED, NodeState.UPSTREAM_FAILED, NodeState.SKIPPED, NodeState.CANCELLED}
)

_UNFINISHED = [state for state in NodeState if state not in ENDED_NODE_STATES]

TRANSITIONS: dict[str, dict[NodeState, NodeState]] = {
    "tell_success": {NodeState.WAITING: NodeState.READY},  # the last node that it needs has succeeded
    "tell_failure": {NodeState.WAITING: NodeState.UPSTREAM_FAILED},
    "tell_skip": {NodeState.WAITING: NodeState.SKIPPED},  # a node that it needs was skipped or cancelled
    "claim": {NodeState.READY: NodeState.RUNNING},
    "claim_from_dead": {NodeState.READY: NodeState.RUNNING, NodeState.RUNNING: NodeState.RUNNING},
    "release": {NodeState.RUNNING: NodeState.READY},
    "beat": {NodeState.RUNNING: NodeState.RUNNING},
    "redrive": {NodeState.READY: NodeState.READY},
    "redrive_from_dead": {NodeState.READY: NodeState.READY, NodeState.RUNNING: NodeState.READY},
    "retry": {NodeState.RUNNING: NodeState.RETRYING},
    "wake": {NodeState.RETRYING: NodeState.READY},  # its delay is over, or its run is halted
    # What it waits for has come; of one that runs, the holder has not seen that:
    "signal": {NodeState.RETRYING: NodeState.READY, NodeState.RUNNING: NodeState.READY},
    **{f"mark_{end}": dict.fromkeys(_UNFINISHED, end) for end in (NodeState.SUCCEEDED, NodeState.SKIPPED)},  # by hand
    # Only in a run that has ended and is reopened:
    **{
        f"reset_{start}": dict.fromkeys(NodeState, start)
        for start in (NodeState.READY, NodeState.WAITING, NodeState.SKIPPED)
    },
    "inherit": {NodeState.WAITING: NodeState.SUCCEEDED},  # only in a fork, before it goes on
    "settle_succeeded": {NodeState.RUNNING: NodeState.SUCCEEDED},
    "settle_failed": {NodeState.RUNNING: NodeState.FAILED},
    "settle_cancelled": {NodeState.RUNNING: NodeState.CANCELLED},
    "settle_skipped": {NodeState.RUNNING: NodeState.SKIPPED},  # its condition is false
}
"""For each event, the states it may meet and what each becomes; any other state stays as it is."""

_OF_NODES_ALONE = ("mark_", "reset_", "inherit", "tell_", "settle_skipped", "signal")

UNDO_TRANSITIONS: dict[str, dict[NodeState, NodeState]] = {
    **{event: steps for event, steps in TRANSITIONS.items() if not event.startswith(_OF_NODES_ALONE)},
    "tell_success": {NodeState.WAITING: NodeState.READY},  # all undos before it have succeeded, or had nothing to do
    "tell_nothing": {
        NodeState.WAITING: NodeState.SKIPPED
    },  # the same, and its node has done nothing that it could undo
    "tell_failure": {NodeState.WAITING: NodeState.SKIPPED},  # one of them failed
    "compensate": {NodeState.FAILED: NodeState.READY, NodeState.SKIPPED: NodeState.READY},  # undoing is begun again
}
"""The same for undos, which nobody ends by hand, resets, inherits or signals, and which have no conditions."""

RUN_TRANSITIONS: dict[RunState, frozenset[RunState]] = {
    RunState.RUNNING: frozenset(
        {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.COMPENSATING, RunState.TERMINATED}
    ),
    RunState.COMPENSATING: frozenset({RunState.COMPENSATED, RunState.COMPENSATION_FAILED, RunState.TERMINATED}),
    RunState.FAILED: frozenset({RunState.COMPENSATING, RunState.RUNNING}),
    RunState.CANCELLED: frozenset({RunState.COMPENSATING, RunState.RUNNING}),
    RunState.COMPENSATION_FAILED: frozenset({RunState.COMPENSATING}),
    RunState.SUCCEEDED: frozenset({RunState.RUNNING}),
    RunState.COMPENSATED: frozenset(),
    RunState.TERMINATED: frozenset({RunState.RUNNING}),
}
"""What each state of a run may become, as it is stored: a paused run is running."""
