"""The states of nodes and runs, and the one table of what may follow what.

    waiting ──► ready ──► running ──► succeeded
       │          ▲ ▲        │ │├───► failed
       │          │ └────────┘ │└───► cancelled
       │          │  released, │
       │          │  or taken from a dead holder
       └─► skipped└─ retrying ◄┘

Whatever it was doing, an unfinished node can be ended by hand (mark), as succeeded or skipped; and when an ended run is
reopened, any node can be made ready or waiting again (reset).

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
    RETRYING = "retrying"  # an attempt failed; waits for the next one
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"  # a node that it needs did not succeed
    CANCELLED = "cancelled"  # the run was halted before it started

    @property
    def ended(self) -> bool:
        return self in ENDED_NODE_STATES


class RunState(StrEnum):
    """Where a run is."""

    RUNNING = "running"
    PAUSED = "paused"  # it runs, but nothing of it starts until it is resumed; the store keeps that as a field
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"  # ended at once, whatever its nodes were doing

    @property
    def ended(self) -> bool:
        return self not in OPEN_RUN_STATES


OPEN_RUN_STATES = frozenset({RunState.RUNNING, RunState.PAUSED})
RETRIABLE_RUN_STATES = frozenset({RunState.FAILED, RunState.CANCELLED, RunState.TERMINATED})

ENDED_NODE_STATES = frozenset({NodeState.SUCCEEDED, NodeState.FAILED, NodeState.SKIPPED, NodeState.CANCELLED})

_UNFINISHED = [state for state in NodeState if state not in ENDED_NODE_STATES]

TRANSITIONS: dict[str, dict[NodeState, NodeState]] = {
    "tell_success": {NodeState.WAITING: NodeState.READY},  # the last node that it needs has succeeded
    "tell_failure": {NodeState.WAITING: NodeState.SKIPPED},
    "claim": {NodeState.READY: NodeState.RUNNING},
    "claim_from_dead": {NodeState.READY: NodeState.RUNNING, NodeState.RUNNING: NodeState.RUNNING},
    "release": {NodeState.RUNNING: NodeState.READY},
    "beat": {NodeState.RUNNING: NodeState.RUNNING},
    "redrive": {NodeState.READY: NodeState.READY},
    "redrive_from_dead": {NodeState.READY: NodeState.READY, NodeState.RUNNING: NodeState.READY},
    "retry": {NodeState.RUNNING: NodeState.RETRYING},
    "wake": {NodeState.RETRYING: NodeState.READY},  # its delay is over, or its run is halted
    **{f"mark_{end}": dict.fromkeys(_UNFINISHED, end) for end in (NodeState.SUCCEEDED, NodeState.SKIPPED)},  # by hand
    # Only in a run that has ended and is reopened:
    **{f"reset_{start}": dict.fromkeys(NodeState, start) for start in (NodeState.READY, NodeState.WAITING)},
    "settle_succeeded": {NodeState.RUNNING: NodeState.SUCCEEDED},
    "settle_failed": {NodeState.RUNNING: NodeState.FAILED},
    "settle_cancelled": {NodeState.RUNNING: NodeState.CANCELLED},
}
"""For each event, the states it may meet and what each becomes; any other state stays as it is."""
