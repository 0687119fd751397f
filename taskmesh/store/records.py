"""What is stored of runs and nodes, as values, and how it is read from the fields of a run's hash."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from taskmesh.model.states import NodeState, RunState
from taskmesh.store.family import Origin, Parent
from taskmesh.store.remembered import Remembered, read_remembered
from taskmesh.wire import unpack

_NOTHING_TO_UNDO = "nothing"

BY_HAND = "by "
"""How the cause of a node begins that somebody has ended by hand."""

INHERITED = "inherited"
"""The cause of a node that has its output from the run which its own was forked from."""


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """The stored state of one node; times in epoch seconds of the store's clock, 0 = not yet.

    ``let_begin`` is the copy that began with its end, where only so many may run at once; of one that waits in a run
    that goes on after its end, the copy that follows it, where that is not its neighbour.
    """

    state: NodeState
    attempt: int
    token: int
    ready_at: float
    started_at: float
    finished_at: float
    holder: str
    spread: int
    cause: str
    scheduled_at: float = 0.0
    retries: int = 0
    crashes: int = 0
    past: int = 0
    let_begin: int | None = None

    @property
    def passes(self) -> bool:
        """Whether it is an undo that had nothing to undo."""
        return self.cause == _NOTHING_TO_UNDO

    @property
    def is_by_hand(self) -> bool:
        """Whether somebody has ended it by hand."""
        return self.cause.startswith(BY_HAND)

    @property
    def opened_at(self) -> float:
        """When it was ready first, since it was reset last."""
        return self.scheduled_at or self.ready_at

    @property
    def is_inherited(self) -> bool:
        """Whether it has its output from the run which its own was forked from."""
        return self.cause == INHERITED


class Decision(NamedTuple):
    """What somebody decided over a run: who, why, and when in epoch seconds of the store's clock."""

    by: str
    why: str
    at: float


class Pause(NamedTuple):
    """Why a run is paused. ``kind`` is ``user``, or names what is being prepared, after which the run goes on."""

    kind: str
    by: str
    why: str
    at: float


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One row of a list of runs."""

    run_id: str
    flow: str
    version: str
    status: RunState
    halt: str
    tags: dict[str, str]
    nodes: int
    remaining: int
    submitted_at: float
    finished_at: float | None
    paused: Pause | None = None
    halted_by: Decision | None = None
    forked_from: Origin | None = None
    parent: Parent | None = None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """All that is stored of one run; nodes that wait have no record.

    ``heard`` has, by node, the last end of a child run that it was told, ``seen`` what its condition has read (see
    ``dispatch.gates``).
    ``history`` has what the records do not tell any more, the oldest first; ``forgotten`` older entries are gone.
    ``context`` is empty where nothing is said of the request that it serves.
    """

    summary: RunSummary
    flow_hash: str
    params: bytes
    failed_node: int | None
    nodes: dict[int, NodeRecord] = field(default_factory=dict)
    outputs: dict[int, bytes] = field(default_factory=dict)
    errors: dict[int, bytes] = field(default_factory=dict)
    heard: dict[int, bytes] = field(default_factory=dict)
    seen: dict[int, bytes] = field(default_factory=dict)
    signals: dict[int, bytes] = field(default_factory=dict)
    payloads: dict[int, bytes] = field(default_factory=dict)
    history: tuple[Remembered, ...] = ()
    forgotten: int = 0
    context: bytes = b""


def run_summary(run_id: str, fields: dict[bytes, Any]) -> RunSummary:
    flow, version, tags, nodes = unpack(fields[b"header"])
    finished_at, paused, halted_by = fields.get(b"finished_at"), fields.get(b"paused"), fields.get(b"halted_by")
    status = shown_status(fields[b"status"], paused)
    return RunSummary(
        run_id=run_id,
        flow=flow,
        version=version,
        status=status,
        halt=(fields.get(b"halt") or b"").decode(),
        tags=tags,
        nodes=nodes,
        remaining=int(fields[b"remaining"]),
        submitted_at=float(fields[b"submitted_at"]),
        finished_at=float(finished_at) if finished_at else None,
        paused=Pause(*unpack(paused)) if paused and not status.ended else None,
        halted_by=Decision(*unpack(halted_by)) if halted_by else None,
        forked_from=Origin.read(forked_from) if (forked_from := fields.get(b"forked_from")) else None,
        parent=Parent.read(parent) if (parent := fields.get(b"parent")) else None,
    )


def shown_status(status: bytes, paused: bytes | None) -> RunState:
    """A run is shown as paused while it goes on; once it has ended, what held it says nothing any more."""
    state = RunState(status.decode())
    return RunState.PAUSED if state is RunState.RUNNING and paused else state


def run_record(run_id: str, fields: dict[bytes, bytes]) -> RunRecord:
    failed_node = fields.get(b"failed_node")
    entries = sorted(numbered(fields, b"history:"))
    return RunRecord(
        summary=run_summary(run_id, fields),
        flow_hash=fields[b"flow"].decode(),
        params=fields[b"params"],
        failed_node=int(failed_node) if failed_node else None,
        nodes=records_of(fields),
        outputs=dict(numbered(fields, b"output:")),
        errors=dict(numbered(fields, b"error:")),
        heard=dict(numbered(fields, b"child:")),
        seen=dict(numbered(fields, b"seen:")),
        signals=dict(numbered(fields, b"signal:")),
        payloads=dict(numbered(fields, b"payload:")),
        history=tuple(read_remembered(packed) for _, packed in entries),
        forgotten=entries[0][0] if entries else 0,
        context=fields.get(b"context", b""),
    )


def numbered(fields: dict[bytes, bytes], prefix: bytes) -> Iterator[tuple[int, bytes]]:
    for name, value in fields.items():
        if name.startswith(prefix):
            yield int(name[len(prefix) :]), value


def records_of(fields: dict[bytes, bytes]) -> dict[int, NodeRecord]:
    """The records of nodes among the fields of a run."""
    return {at: node_record(value) for at, value in numbered(fields, b"node:")}


def node_record(packed: bytes) -> NodeRecord:
    """Read a node's record as the scripts write it."""
    state, *rest = unpack(packed)
    return NodeRecord(NodeState(state), *rest)
