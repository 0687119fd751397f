"""All that the store keeps of some runs, read at once, in the words of the reference model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from taskmesh.dispatch.plan import Plan
from taskmesh.store.calls import NodeKey
from taskmesh.store.keys import Keys
from taskmesh.store.link import Command, Link, value_of
from taskmesh.store.records import node_record
from taskmesh.wire import unpack
from tests.model.answers import RUN_HALTED, RUN_IS_CHILD

POOLS = ("one", "two")


class Stored(NamedTuple):
    """``outboxes`` has pool, run and node of each entry, ``timers`` when each run and node is to be woken, and since
    when runs stand among the halted ones, and when children are to be looked at.

    ``users`` has, for the flow of each run, how many open runs it has in the partition, and whether it will expire.
    """

    outboxes: set[tuple[str, str, int]]
    timers: dict[tuple[str, int], float]
    open_runs: set[str]
    closed_runs: set[str]
    runs: dict[str, dict[str, Any]]
    retrying: dict[str, set[int]]
    users: dict[str, tuple[int, bool]]


def read_stored(link: Link, keys: Keys, plans: Mapping[str, Plan]) -> Stored:
    """Everything below the namespace, and what there is of each of these runs; one exchange."""
    replies = map(value_of, link.exchange(list(_questions(keys, plans))))
    outboxes = {(pool, *_node(member)) for _ in keys.partitions for pool in POOLS for member in next(replies)}
    timers = {_node(member): float(due) for _ in keys.partitions for member, due in _scored(next(replies))}
    timers |= {
        (member.decode(), RUN_HALTED): float(since) for _ in keys.partitions for member, since in _scored(next(replies))
    }
    timers |= {
        (member.decode(), RUN_IS_CHILD): float(at) for _ in keys.partitions for member, at in _scored(next(replies))
    }
    open_runs = {member.decode() for _ in keys.partitions for member in next(replies)}
    closed_runs = {member.decode() for _ in keys.partitions for member in next(replies)}
    runs = {run_id: _run(next(replies), next(replies)) for run_id in plans}
    retrying = {run_id: {int(node) for node in next(replies)} for run_id in plans}
    users = {run_id: (int(next(replies)), next(replies) > 0) for run_id in plans}
    return Stored(outboxes, timers, open_runs, closed_runs, runs, retrying, users)


def _questions(keys: Keys, plans: Mapping[str, Plan]) -> Iterator[Command]:
    for partition in keys.partitions:
        yield from (_all_of(partition.outbox(pool)) for pool in POOLS)
    for partition in keys.partitions:
        yield Command(partition.timers, "ZRANGE", partition.timers, 0, -1, "WITHSCORES")
    for partition in keys.partitions:
        yield Command(partition.halted, "ZRANGE", partition.halted, 0, -1, "WITHSCORES")
    for partition in keys.partitions:
        yield Command(partition.children, "ZRANGE", partition.children, 0, -1, "WITHSCORES")
    yield from (_all_of(partition.open_runs) for partition in keys.partitions)
    yield from (_all_of(partition.closed_runs) for partition in keys.partitions)
    for run_id in plans:
        yield from (Command(keys.run(run_id), word, keys.run(run_id)) for word in ("HGETALL", "PTTL"))
    for run_id in plans:
        key = keys.partition_of(run_id).retrying(run_id)
        yield Command(key, "SMEMBERS", key)
    for run_id, plan in plans.items():
        key = keys.partition_of(run_id).flow(plan.hash)
        yield Command(key, "HGET", key, "open_runs")
        yield Command(key, "PTTL", key)


def _all_of(key: str) -> Command:
    return Command(key, "ZRANGE", key, 0, -1)


def _node(member: bytes) -> tuple[str, int]:
    key = NodeKey.parse(member.decode())
    return key.run_id, key.node


def _scored(reply: Any) -> Iterable[tuple[bytes, bytes]]:
    return reply if reply and isinstance(reply[0], list) else zip(reply[::2], reply[1::2], strict=True)


def _run(flat: Any, ttl: int) -> dict[str, Any]:
    pairs = flat if isinstance(flat, Mapping) else dict(zip(flat[::2], flat[1::2], strict=True))
    fields = {name.decode(): value for name, value in pairs.items()}
    return {
        "status": fields["status"].decode(),
        "remaining": int(fields["remaining"]),
        "halt": fields.get("halt", b"").decode(),
        "undos": fields.get("undos", b"").decode(),
        "compensation": int(fields["compensation"]) if "compensation" in fields else None,
        "hooks": int(fields.get("hooks", 0)),
        "blocked": {at: value.decode() for at, value in _numbered(fields, "blocked:")},
        "failed_node": int(fields["failed_node"]) if "failed_node" in fields else None,
        "nodes": {at: _record(value) for at, value in _numbered(fields, "node:")},
        "arrived": {at: int(value) for at, value in _numbered(fields, "arrived:")},
        "missed": {
            (kind, at): int(value) for kind in ("failed", "skipped") for at, value in _numbered(fields, f"{kind}:")
        },
        "outputs": dict(_numbered(fields, "output:")),
        "errors": dict(_numbered(fields, "error:")),
        "paused": unpack(fields["paused"])[0] if "paused" in fields else "",
        "deadline": float(fields["deadline"]) if "deadline" in fields else None,
        "checkpoints": dict(_numbered(fields, "checkpoint:")),
        "seen": {at: tuple(unpack(value)) for at, value in _numbered(fields, "seen:")},
        "signals": {at: (unpack(value)[0], fields.get(f"payload:{at}")) for at, value in _numbered(fields, "signal:")},
        "altered": "altered" in fields,
        "failures": int(fields.get("failures", 0)),
        "begun": int(fields.get("begun", 0)),
        "remembered": [_remembered(value) for _, value in sorted(_numbered(fields, "history:"))],
        "parent": fields.get("parent", b"").decode(),
        "heard": {at: value.partition(b" ")[0].decode() for at, value in _numbered(fields, "child:")},
        "expires": ttl > 0,
        "context": fields.get("context"),
    }


def _record(packed: bytes) -> tuple[str | int | None, ...]:
    record = node_record(packed)
    named = record.state, record.attempt, record.token, record.holder, record.spread, record.cause
    return *named, record.retries, record.past, record.let_begin


def _remembered(packed: bytes) -> tuple[Any, ...]:
    """An entry without what is said of it."""
    kind, *rest = unpack(packed)
    return (kind, *rest[: 6 if kind == "node" else 2])


def _numbered(fields: Mapping[str, bytes], prefix: str) -> Iterable[tuple[int, bytes]]:
    return ((int(name.removeprefix(prefix)), value) for name, value in fields.items() if name.startswith(prefix))
