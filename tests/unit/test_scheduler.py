"""The keeper's schedules: begun when due, gone on with after a keeper that died, and unharmed by what is damaged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskmesh.clock import SystemClock
from taskmesh.dispatch.advance import Advancer
from taskmesh.dispatch.pins import Pins
from taskmesh.dispatch.plans import Plans
from taskmesh.dispatch.ticks import Definitions, TickRuns
from taskmesh.errors import StoreUnavailableError
from taskmesh.keeper.active_runs import ActiveRuns
from taskmesh.keeper.leadership import Leadership
from taskmesh.keeper.scheduler import Scheduler, SchedulerParts
from taskmesh.model.schedules import Overlap, run_id_of
from taskmesh.observability.tally import Tally
from taskmesh.store.controls import Controls
from taskmesh.store.elections import Elections
from taskmesh.store.housekeeping import Housekeeping
from taskmesh.store.link import Command
from taskmesh.store.opening import open_link
from taskmesh.store.schedule_calls import Recorded
from taskmesh.store.store import Store
from tests.contract.schedule_bench import ID, SECOND, ScheduleBench

PATIENCE_SECONDS = 60.0


class FrailRuns(TickRuns):
    """Fails so often before it begins anything."""

    failures = 0

    def admit(self, recorded: Any) -> Any:
        if recorded and self.failures > 0:
            self.failures -= 1
            raise StoreUnavailableError("on purpose")
        return super().admit(recorded)


class SchedulerBench(ScheduleBench):
    """A scheduler in real time."""

    def __init__(self, url: str, namespace: str) -> None:
        super().__init__(open_link(url, 2.0, 5.0), namespace)
        self.housekeeping = Housekeeping(self.link, self.keys, 60.0)
        self.now = self.housekeeping.time()
        self.tally = Tally()
        self.leadership = Leadership(Elections(self.link, self.keys), "me", 60.0)
        definitions = Definitions(self.reader, Plans(self.runs.flow_body))
        self.frail = FrailRuns(definitions, Advancer(self.store), Pins(self.store), 1_000_000)
        self.definitions = definitions

    @property
    def store(self) -> Store:
        return Store(self.link, self.keys, 60.0)

    def tick(self, seconds: float = 0.0) -> int:
        """The next whole second after so many."""
        return (int(self.housekeeping.time() + seconds) + 1) * SECOND

    async def make(self) -> Scheduler:
        await self.leadership.renew(self.housekeeping.time())
        return Scheduler(
            SchedulerParts(
                housekeeping=self.housekeeping,
                keys=self.keys,
                reader=self.reader,
                schedules=self.schedules,
                definitions=self.definitions,
                runs=self.frail,
                publish=self.published.extend,
                active=ActiveRuns(self.runs, self.reader, Controls(self.store), self.keys),
                leadership=self.leadership,
                tally=self.tally,
                clock=SystemClock(),
            )
        )

    def run_until(self, condition: Callable[[], bool], meanwhile: Callable[[], None] = lambda: None) -> None:
        asyncio.run(self._until(condition, meanwhile))

    async def _until(self, condition: Callable[[], bool], meanwhile: Callable[[], None]) -> None:
        scheduler = await self.make()
        scheduler.start()
        scheduler.start()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                meanwhile()
                await asyncio.sleep(0.02)
        scheduler.stop()

    @property
    def begun(self) -> list[str]:
        return [each.run_id for each in self.published]


@pytest.fixture
def bench(valkey_url: str, namespace: str) -> Iterator[SchedulerBench]:
    bench = SchedulerBench(valkey_url, namespace)
    yield bench
    bench.link.close()


def test_each_tick_begins_its_run_once_and_not_too_early(bench: SchedulerBench) -> None:
    first = bench.tick(0.5)
    bench.put(tick=first, overlap=Overlap.ALLOW_ALL)
    bench.run_until(lambda: len(bench.begun) >= 3 and bench.recorded() == [])
    assert bench.begun[:3] == [run_id_of(ID, first + at * SECOND) for at in range(3)]
    assert all(each.at * 1000 >= each.tick for each in bench.record().started)
    told = bench.tally.take()
    assert "schedule_lateness_seconds" in str(told)


def test_a_schedule_that_comes_while_it_runs_is_found(bench: SchedulerBench) -> None:
    asked: list[int] = []

    def put() -> None:
        if not asked:
            asked.append(bench.tick())
            bench.put(tick=asked[0])

    bench.run_until(lambda: len(bench.begun) >= 1, put)
    assert bench.begun[0] == run_id_of(ID, asked[0])


def test_what_a_dead_keeper_had_recorded_is_begun(bench: SchedulerBench) -> None:
    tick = bench.tick(-5)
    bench.put(tick=tick)
    bench.now -= 60
    bench.epochs = bench.lead("dead")
    far = bench.firing(tick)._replace(following=tick + 10**9, begins_at=tick + 10**9)
    bench.schedules.fire_schedules([far], bench.epochs)
    bench.run_until(lambda: bench.recorded() == [] and len(bench.begun) >= 1)
    assert bench.begun == [run_id_of(ID, tick)]


def test_a_store_that_is_away_for_a_while_costs_no_tick(bench: SchedulerBench) -> None:
    first = bench.tick()
    bench.put(tick=first, overlap=Overlap.ALLOW_ALL)
    bench.frail.failures = 3
    bench.run_until(lambda: len(set(bench.begun)) >= 3 and bench.recorded() == [])
    assert set(bench.begun) >= {run_id_of(ID, first + at * SECOND) for at in range(3)}
    assert bench.frail.failures == 0


def test_a_tick_that_waited_begins_when_the_run_has_ended(bench: SchedulerBench) -> None:
    first = bench.tick()
    bench.put(tick=first, overlap=Overlap.BUFFER_ONE)
    ended: list[str] = []

    def end() -> None:
        if len(bench.record().waiting) == 1 and not ended:
            ended.append(bench.begun[0])
            bench.end(ended[0])

    bench.run_until(lambda: len(bench.begun) >= 2, end)
    assert bench.begun[:2] == [run_id_of(ID, first), run_id_of(ID, first + SECOND)]


def test_a_run_that_is_wished_away_is_terminated(bench: SchedulerBench) -> None:
    first = bench.tick()
    bench.put(tick=first, overlap=Overlap.TERMINATE_OTHER)
    bench.run_until(lambda: len(bench.begun) >= 2 and bench.runs.statuses(bench.begun[:1]) == ["terminated"])
    assert bench.begun[1] == run_id_of(ID, first + SECOND)


def test_one_that_cannot_be_read_makes_room_for_others(bench: SchedulerBench) -> None:
    tick = bench.tick()
    bench.put("damaged", tick=tick)
    key = bench.keys.partition_of("damaged").schedule("damaged")
    revision = bench.standing("damaged").revision
    bench.link.exchange([Command(key, "HSET", key, f"definition:{revision}", b"of another version")])
    bench.put(tick=tick)
    bench.run_until(lambda: len(bench.begun) >= 1)
    assert bench.begun[0] == run_id_of(ID, tick)
    [(_, later)] = bench.reader.due(1e12, 10, [bench.keys.partition_of("damaged").number])[-1:]
    assert later > bench.housekeeping.time() + 30


def test_who_leads_nothing_begins_nothing(bench: SchedulerBench) -> None:
    bench.put(tick=bench.tick(-3))
    looks: list[int] = []
    bench.lead("other")
    bench.leadership = Leadership(Elections(bench.link, bench.keys), "late", 60.0)
    bench.run_until(lambda: len(looks) > 60, lambda: looks.append(1))
    assert bench.begun == []


def test_a_member_of_what_is_due_is_read_back() -> None:
    recorded = Recorded("a@b@20261130T004500Z", 1, "7", "tick")
    assert Recorded.parse(recorded.member.encode()) == recorded
    assert recorded.schedule_id == "a@b"
