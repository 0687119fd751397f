"""Schedules in a store at a time that the test sets, led by whom it says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from taskmesh.dispatch.dispatcher import Ready
from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.plans import Plans
from taskmesh.dispatch.ticks import Definitions, TickRuns
from taskmesh.keeper.active_runs import ActiveRuns
from taskmesh.model.flow import Flow, Node
from taskmesh.model.schedules.schedule import Schedule, When, run_id_of
from taskmesh.model.schedules.ticks import Missed
from taskmesh.store.calls import Claim, NodeKey, Settlement, Who, Word
from taskmesh.store.controls import Controls
from taskmesh.store.housekeeping import Housekeeping
from taskmesh.store.keys import Keys
from taskmesh.store.link import Link
from taskmesh.store.reader import Reader
from taskmesh.store.schedules.calls import Fired, Firing, Put, Recorded, ScheduleRecord, SettledTick, Standing
from taskmesh.store.schedules.reader import ScheduleReader
from taskmesh.store.schedules.schedules import Schedules
from taskmesh.store.store import Store
from taskmesh.wire.schedules import Definition, digest_of, encode_definition

ID, NOW = "nightly", 1_000_000.0
SECOND = 1000
PARTITIONS = 4
EVERYTHING = dict.fromkeys(range(PARTITIONS), math.inf)
FIRST = round(NOW) * SECOND
PLAN = Plan.of(Flow("scheduled", "1", (Node("only", "t"),)))


class ScheduleBench:
    """One schedule, due every second from FIRST on."""

    def __init__(self, link: Link, namespace: str) -> None:
        self.link, self.keys = link, Keys(namespace, PARTITIONS)
        self.now = NOW
        self.reader = ScheduleReader(link, self.keys)
        self.runs = Reader(link, self.keys)
        self.published: list[Ready] = []

    @property
    def store(self) -> Store:
        return Store(self.link, self.keys, 60.0, repr(self.now))

    @property
    def schedules(self) -> Schedules:
        return Schedules(self.store)

    @property
    def active(self) -> ActiveRuns:
        return ActiveRuns(self.runs, self.reader, Controls(self.store), self.keys)

    def put(self, schedule_id: str = ID, seen: Standing | None = None, tick: int = FIRST, **options: Any) -> Word:
        schedule = Schedule(schedule_id, When(every_seconds=1.0), **options)
        body = encode_definition(Definition(schedule, PLAN.body))
        revision, seen_next = (seen.revision, seen.next_tick) if seen else ("", None)
        put = Put(schedule_id, revision, seen_next, digest_of(body), body, schedule.overlap, tick, tick)
        return self.schedules.put_schedule(put)

    def standing(self, schedule_id: str = ID) -> Standing:
        [standing] = self.reader.standings([schedule_id])
        assert standing is not None
        return standing

    def record(self) -> ScheduleRecord:
        record = self.reader.record(ID)
        assert record is not None
        return record

    def firing(
        self, *ticks: int, standing: Standing | None = None, missed: Sequence[Missed] = (), ended: Sequence[str] = ()
    ) -> Firing:
        following = max(ticks, default=FIRST) + SECOND
        begin = [(tick, run_id_of(ID, tick)) for tick in ticks]
        return Firing(standing or self.standing(), following, following, begin, missed, ended)

    def fire(self, *ticks: int, **more: Any) -> Fired:
        [answer] = self.schedules.fire_schedules([self.firing(*ticks, **more)])
        return answer

    def relieve(self, *ended: str, standing: Standing | None = None) -> Fired:
        [answer] = self.schedules.relieve_schedules([(standing or self.standing(), ended)])
        return answer

    def recorded(self) -> list[Recorded]:
        return [each for each, _ in self.reader.recorded(EVERYTHING, 1000)]

    def busy(self) -> list[str]:
        return self.reader.busy(EVERYTHING, 10)

    def begin(self, recorded: Sequence[Recorded], max_value_bytes: int = 1_000_000) -> list[SettledTick]:
        """What a keeper does with recorded ticks, but for settling them."""
        definitions = Definitions(self.reader, Plans(self.runs.flow_body))
        ready, settled = TickRuns(definitions, self.store, max_value_bytes).admit(recorded)
        self.published.extend(ready)
        return settled

    def begin_all(self) -> None:
        self.schedules.settle_ticks(self.begin(self.recorded()))

    def end(self, run_id: str) -> None:
        """Let the only node of a run succeed."""
        Housekeeping(self.link, self.keys, 60.0, repr(self.now)).renew_holder("worker", 1e6)
        key = NodeKey(run_id, 0)
        [claimed] = self.store.claim_nodes([Claim(key, 1, ())], "worker")
        assert claimed.word is Word.CLAIMED
        chunk = PLAN.chunks(0)[0]
        ended = Settlement(
            key,
            claimed.token,
            "succeeded",
            b"\xc0",
            b"",
            "",
            PLAN.hash,
            "default",
            PLAN.pools,
            chunk.packed,
            chunk.last,
        )
        self.store.settle_nodes([ended], "worker")

    def pause(self) -> Word:
        return self.schedules.pause_schedule(ID, Who("ann", "too much"))
