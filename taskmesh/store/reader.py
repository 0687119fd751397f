"""What became of runs: reads that change nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from taskmesh.model.states import NodeState, RunState
from taskmesh.store.calls import NodeKey
from taskmesh.store.family import Origin, Parent
from taskmesh.store.keys import Keys
from taskmesh.store.link import Command, Link, Reply, found_damage, value_of
from taskmesh.store.remembered import Remembered, read_remembered
from taskmesh.wire import unpack

_PAGE = 500

_NOTHING_TO_UNDO = "nothing"

BY_HAND = "by "
"""How the cause of a node begins that somebody has ended by hand."""

INHERITED = "inherited"
"""The cause of a node that has its output from the run which its own was forked from."""


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """The stored state of one node; times in epoch seconds of the store's clock, 0 = not yet.

    ``let_begin`` is the copy that began with its end, where only so many may run at once.
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

    ``heard`` has, by node, the last end of a child run that it was told.
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
    signals: dict[int, bytes] = field(default_factory=dict)
    payloads: dict[int, bytes] = field(default_factory=dict)
    history: tuple[Remembered, ...] = ()
    forgotten: int = 0
    context: bytes = b""


class Reader:
    """Reads runs and flows."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    def flow_body(self, flow_hash: str, run_id: str) -> bytes | None:
        """The stored flow, from the partition of a run of it."""
        key = self._keys.partition_of(run_id).flow(flow_hash)
        body: bytes | None = self._one(Command(key, "HGET", key, "body"))
        return body

    def run_fields(self, run_id: str, fields: Sequence[str]) -> list[bytes | None]:
        """Fields of one run, read in pages so that no command grows with the width of a flow."""
        key = self._keys.run(run_id)
        pages = [fields[start : start + _PAGE] for start in range(0, len(fields), _PAGE)]
        replies = self._link.exchange([Command(key, "HMGET", key, *page) for page in pages])
        return [value for reply in replies for value in value_of(reply)]

    def fields_of_runs(self, run_ids: Sequence[str], fields: Sequence[str]) -> list[list[bytes | None]]:
        """The same few fields of many runs; None for all of a run that is not there, or is damaged."""
        keys = [self._keys.run(run_id) for run_id in run_ids]
        replies = self._link.exchange([Command(key, "HMGET", key, *fields) for key in keys])
        return [[None] * len(fields) if found_damage(reply) else value_of(reply) for reply in replies]

    def node_records(self, keys: Sequence[NodeKey]) -> list[NodeRecord | None]:
        """The record of each node; None where it waits, or where its run is not there or is damaged."""
        runs = [self._keys.run(key.run_id) for key in keys]
        replies = self._link.exchange(
            [Command(run, "HGET", run, f"node:{key.node}") for run, key in zip(runs, keys, strict=True)]
        )
        packed = [None if found_damage(reply) else value_of(reply) for reply in replies]
        return [node_record(each) if each else None for each in packed]

    def statuses(self, run_ids: Sequence[str]) -> list[RunState | None]:
        """The status of each run, None where there is no such run."""
        keys = [self._keys.run(run_id) for run_id in run_ids]
        replies = self._link.exchange([Command(key, "HMGET", key, "status", "paused") for key in keys])
        return [_status(status, paused) if status else None for status, paused in map(value_of, replies)]

    def run(self, run_id: str) -> RunRecord | None:
        """Everything of one run, or None. Read in pages (HSCAN), so a wide run does not stop the server."""
        fields = dict(self._scan(self._keys.run(run_id), "*"))
        # A run that expires while it is read comes in part.
        return _run_record(run_id, fields) if fields.keys() >= _RECORD_FIELDS else None

    def records_of_run(self, run_id: str) -> dict[int, NodeRecord]:
        """The records of a run's nodes alone, without what they gave back."""
        return records_of(dict(self._scan(self._keys.run(run_id), "node:*")))

    def counts(self, run_id: str, kind: str) -> dict[int, int]:
        """How many of those that each node needs have ``arrived``, or were ``skipped``, where that is counted."""
        fields = dict(self._scan(self._keys.run(run_id), f"{kind}:*"))
        return {at: int(value) for at, value in _numbered(fields, f"{kind}:".encode())}

    def list_runs(self, closed: bool, limit: int, offset: int = 0) -> list[RunSummary]:
        """The newest runs first: those that have ended, or those that have not."""
        keys = [each.closed_runs if closed else each.open_runs for each in self._keys.partitions]
        replies = self._link.exchange(
            [Command(key, "ZREVRANGE", key, 0, offset + limit - 1, "WITHSCORES") for key in keys]
        )
        ranked = sorted((pair for reply in replies for pair in scored(value_of(reply))), key=lambda pair: -pair[1])
        return self.summaries([run_id for run_id, _ in ranked[offset : offset + limit]])

    def scan_runs(self, closed: bool) -> Iterator[list[str]]:
        """The ids of all runs that have ended, or of all that have not, in pages; some may come twice."""
        for partition in self._keys.partitions:
            key = partition.closed_runs if closed else partition.open_runs
            cursor: int | bytes = 0
            while True:
                cursor, flat = self._one(Command(key, "ZSCAN", key, cursor, "COUNT", _PAGE))
                yield [run_id for run_id, _ in scored(flat)]
                if int(cursor) == 0:
                    break

    def summaries(self, run_ids: Sequence[str]) -> list[RunSummary]:
        """A row for each run that exists."""
        rows = zip(run_ids, self.fields_of_runs(run_ids, _SUMMARY_FIELDS), strict=True)
        return [_summary(run_id, dict(zip(_SUMMARY_KEYS, row, strict=True))) for run_id, row in rows if row[0]]

    def _one(self, command: Command) -> Reply:
        [reply] = self._link.exchange([command])
        return value_of(reply)

    def _scan(self, key: str, pattern: str) -> Iterator[tuple[bytes, bytes]]:
        cursor: int | bytes = 0
        while True:
            cursor, flat = self._one(Command(key, "HSCAN", key, cursor, "MATCH", pattern, "COUNT", _PAGE))
            yield from zip(flat[::2], flat[1::2], strict=True)
            if int(cursor) == 0:
                return


_SUMMARY_FIELDS = (
    *("status", "header", "remaining", "submitted_at", "finished_at", "halt"),
    *("paused", "halted_by", "forked_from", "parent"),
)
_SUMMARY_KEYS = tuple(name.encode() for name in _SUMMARY_FIELDS)
_RECORD_FIELDS = frozenset((b"status", b"header", b"remaining", b"submitted_at", b"flow", b"params"))


def scored(flat: list[Any]) -> list[tuple[str, float]]:
    """Members and scores of a sorted set, in the form of either version of Redis's protocol."""
    if flat and isinstance(flat[0], list):
        return [(member.decode(), float(score)) for member, score in flat]
    return [(member.decode(), float(score)) for member, score in zip(flat[::2], flat[1::2], strict=True)]


def _summary(run_id: str, fields: dict[bytes, Any]) -> RunSummary:
    flow, version, tags, nodes = unpack(fields[b"header"])
    finished_at, paused, halted_by = fields.get(b"finished_at"), fields.get(b"paused"), fields.get(b"halted_by")
    status = _status(fields[b"status"], paused)
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


def _status(status: bytes, paused: bytes | None) -> RunState:
    """A run is shown as paused while it goes on; once it has ended, what held it says nothing any more."""
    state = RunState(status.decode())
    return RunState.PAUSED if state is RunState.RUNNING and paused else state


def _run_record(run_id: str, fields: dict[bytes, bytes]) -> RunRecord:
    failed_node = fields.get(b"failed_node")
    entries = sorted(_numbered(fields, b"history:"))
    return RunRecord(
        summary=_summary(run_id, fields),
        flow_hash=fields[b"flow"].decode(),
        params=fields[b"params"],
        failed_node=int(failed_node) if failed_node else None,
        nodes=records_of(fields),
        outputs=dict(_numbered(fields, b"output:")),
        errors=dict(_numbered(fields, b"error:")),
        heard=dict(_numbered(fields, b"child:")),
        signals=dict(_numbered(fields, b"signal:")),
        payloads=dict(_numbered(fields, b"payload:")),
        history=tuple(read_remembered(packed) for _, packed in entries),
        forgotten=entries[0][0] if entries else 0,
        context=fields.get(b"context", b""),
    )


def _numbered(fields: dict[bytes, bytes], prefix: bytes) -> Iterator[tuple[int, bytes]]:
    for name, value in fields.items():
        if name.startswith(prefix):
            yield int(name[len(prefix) :]), value


def records_of(fields: dict[bytes, bytes]) -> dict[int, NodeRecord]:
    """The records of nodes among the fields of a run."""
    return {at: node_record(value) for at, value in _numbered(fields, b"node:")}


def node_record(packed: bytes) -> NodeRecord:
    """Read a node's record as the scripts write it."""
    state, *rest = unpack(packed)
    return NodeRecord(NodeState(state), *rest)
