"""One run and what stands around it at one moment, read in one transaction of Redis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from taskmesh.dispatch.plan import BEFORE_FIRST, BEFORE_HOOKS, BEFORE_UNDOS, Plan
from taskmesh.store.keys import Keys
from taskmesh.store.link import Command, Reply
from taskmesh.store.reader import scored
from taskmesh.store.records import NodeRecord, node_record

RUN_FIELDS = ("status", "halt", "paused")
OPEN = ("running", "compensating")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``due`` are the places in the outboxes, ``timers`` the times of those that have one, ``leases`` their ends."""

    run_id: str
    plan: Plan
    now: float
    status: str
    halt: str
    is_paused: bool
    records: Mapping[int, NodeRecord]
    due: frozenset[int]
    timers: Mapping[int, float]
    leases: Mapping[str, float]

    @property
    def is_open(self) -> bool:
        return self.status in OPEN


def places_of(plan: Plan) -> Sequence[int]:
    """All places of a flow that can have a record."""
    count = len(plan.flow.nodes)
    return [BEFORE_FIRST, *range(count if plan.undo_base is None else 2 * count), BEFORE_UNDOS, BEFORE_HOOKS]


def asking(keys: Keys, run_id: str, plan: Plan) -> list[Command]:
    """The transaction that reads a run."""
    key, partition = keys.run(run_id), keys.partition_of(run_id)
    places = places_of(plan)
    members = [f"{run_id}/{place}" for place in places]
    words: list[list[str]] = [
        ["MULTI"],
        ["TIME"],
        ["HMGET", key, *RUN_FIELDS, *(f"node:{place}" for place in places)],
        ["ZRANGE", partition.holders, "0", "-1", "WITHSCORES"],
        ["ZMSCORE", partition.timers, *members],
        *(["ZMSCORE", outbox, *members] for outbox in partition.outboxes(plan.pools)),
        ["EXEC"],
    ]
    return [Command(key, *each) for each in words]


def answered(run_id: str, plan: Plan, reply: Reply) -> Snapshot:
    """The answer to ``asking``: that of its EXEC."""
    (seconds, microseconds), (status, halt, paused, *packed), holders, timers, *outboxes = reply
    places = places_of(plan)
    return Snapshot(
        run_id=run_id,
        plan=plan,
        now=int(seconds) + int(microseconds) / 1_000_000,
        status=(status or b"").decode(),
        halt=(halt or b"").decode(),
        is_paused=bool(paused),
        records={place: node_record(each) for place, each in zip(places, packed, strict=True) if each},
        due=frozenset(_stand_in(places, outboxes)),
        timers={place: float(at) for place, at in zip(places, timers, strict=True) if at is not None},
        leases=dict(scored(holders)),
    )


def _stand_in(places: Sequence[int], outboxes: Sequence[Sequence[Reply]]) -> Iterator[int]:
    for scores in outboxes:
        yield from (place for place, score in zip(places, scores, strict=True) if score is not None)
