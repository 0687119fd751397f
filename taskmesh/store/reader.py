"""What became of runs: reads that change nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from taskmesh.model.states import RunState
from taskmesh.store.calls import NodeKey
from taskmesh.store.keys import Keys
from taskmesh.store.link import Command, Link, Reply, found_damage, value_of
from taskmesh.store.records import (
    NodeRecord,
    RunRecord,
    RunSummary,
    node_record,
    numbered,
    records_of,
    run_record,
    run_summary,
    shown_status,
)

_PAGE = 500


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
        return [shown_status(status, paused) if status else None for status, paused in map(value_of, replies)]

    def run(self, run_id: str) -> RunRecord | None:
        """Everything of one run, or None. Read in pages (HSCAN), so a wide run does not stop the server."""
        fields = dict(self._scan(self._keys.run(run_id), "*"))
        # A run that expires while it is read comes in part.
        return run_record(run_id, fields) if fields.keys() >= _RECORD_FIELDS else None

    def records_of_run(self, run_id: str) -> dict[int, NodeRecord]:
        """The records of a run's nodes alone, without what they gave back."""
        return records_of(dict(self._scan(self._keys.run(run_id), "node:*")))

    def counts(self, run_id: str, kind: str) -> dict[int, int]:
        """How many of those that each node needs have ``arrived``, or were ``skipped``, where that is counted."""
        fields = dict(self._scan(self._keys.run(run_id), f"{kind}:*"))
        return {at: int(value) for at, value in numbered(fields, f"{kind}:".encode())}

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
        return [run_summary(run_id, dict(zip(_SUMMARY_KEYS, row, strict=True))) for run_id, row in rows if row[0]]

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
