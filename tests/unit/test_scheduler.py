"""The keeper's schedules: begun when due, gone on with after a keeper that died, and unharmed by what is damaged."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from taskmesh.clock import SystemClock
from taskmesh.dispatch.dispatcher import Dispatcher, Ready
from taskmesh.dispatch.plans import Plans
from taskmesh.dispatch.ticks import Definitions, TickRuns
from taskmesh.errors import StoreUnavailableError
from taskmesh.keeper import scheduler, signs, standing_in
from taskmesh.keeper.active_runs import ActiveRuns
from taskmesh.keeper.deciding import SchedulerParts
from taskmesh.keeper.leadership import Leadership
from taskmesh.keeper.scheduler import Scheduler
from taskmesh.keeper.signs import LEFT_SECONDS, QUIET_SECONDS, OwnSigns
from taskmesh.keeper.standing_in import STAND_INS, quiet_at
from taskmesh.model.schedules.schedule import Overlap, run_id_of
from taskmesh.observability.tally import Tally
from taskmesh.store.controls import Controls
from taskmesh.store.elections import Elections
from taskmesh.store.housekeeping import Housekeeping
from taskmesh.store.link import Command
from taskmesh.store.opening import open_link
from taskmesh.store.schedules.calls import Recorded
from taskmesh.store.schedules.life_signs import LifeSigns
from taskmesh.store.store import Store
from tests.contract.schedule_bench import EVERYTHING, ID, PARTITIONS, SECOND, ScheduleBench

PATIENCE_SECONDS = 60.0
LEASE_SECONDS = 3600.0
"""Nobody takes over a partition in any test, but where its lock is removed."""
MANY = 60
LOOKS = 60
"""Each takes 0.02 s at least."""


class Looks:
    """Counts what a test does while it waits."""

    number = 0

    def count(self) -> None:
        self.number += 1


class FrailRuns(TickRuns):
    """Fails so often before it begins anything."""

    failures = 0

    def admit(self, recorded: Any) -> Any:
        if recorded and self.failures > 0:
            self.failures -= 1
            raise StoreUnavailableError("on purpose")
        return super().admit(recorded)


class Confirming(Dispatcher):
    """A road that confirms at once, or when it is told to."""

    def __init__(self) -> None:
        self.published: list[Ready] = []
        self.is_away = False
        self.is_down = False
        self._owed: list[Callable[[], None]] = []

    @property
    def is_open(self) -> bool:
        return not self.is_down

    def publish(self, ready: Sequence[Ready], then: Callable[[], None] | None = None) -> None:
        self.published.extend(ready)
        assert then is not None
        self._owed.append(then)
        if not self.is_away:
            self.confirm()

    def confirm(self) -> None:
        self.is_away = False
        while self._owed:
            self._owed.pop()()


class SchedulerBench(ScheduleBench):
    """Schedulers in real time: the keeper ``me``, and others if need be."""

    def __init__(self, url: str, namespace: str) -> None:
        super().__init__(open_link(url, 2.0, 5.0), namespace)
        self.housekeeping = Housekeeping(self.link, self.keys, 60.0)
        self.now = self.housekeeping.time()
        self.tally = Tally()
        self.signs = LifeSigns(self.link, self.keys)
        self.road = Confirming()
        self.published = self.road.published
        self.leadership = self.candidate("me")
        definitions = Definitions(self.reader, Plans(self.runs.flow_body))
        self.frail = FrailRuns(definitions, self.store, 1_000_000)
        self.definitions = definitions

    @property
    def store(self) -> Store:
        return Store(self.link, self.keys, 60.0)

    def candidate(self, holder: str) -> Leadership:
        return Leadership(Elections(self.link, self.keys), holder, LEASE_SECONDS)

    def follow(self, leader: str = "other") -> None:
        """Let another lead every partition for much longer than any test takes, and do nothing; ``me`` is next in
        line."""
        asyncio.run(self.candidate(leader).renew(self.housekeeping.time()))

    def tick(self, seconds: float = 0.0) -> int:
        """The next whole second after so many."""
        return (int(self.housekeeping.time() + seconds) + 1) * SECOND

    async def make(self, leadership: Leadership | None = None) -> Scheduler:
        leadership = leadership or self.leadership
        await leadership.renew(self.housekeeping.time())
        return Scheduler(
            SchedulerParts(
                housekeeping=self.housekeeping,
                keys=self.keys,
                reader=self.reader,
                schedules=self.schedules,
                definitions=self.definitions,
                runs=self.frail,
                dispatcher=self.road,
                active=ActiveRuns(self.runs, self.reader, Controls(self.store), self.keys),
                signs=self.signs,
                leadership=leadership,
                tally=self.tally,
                clock=SystemClock(),
            )
        )

    def decide(self, **options: Any) -> int:
        """Decide about a tick as a keeper does that then does nothing more; no other tick comes in any test."""
        tick = self.tick(-5)
        self.put(tick=tick, **options)
        far = self.firing(tick)._replace(following=tick + 10**9, begins_at=tick + 10**9)
        self.schedules.fire_schedules([far])
        return tick

    def run_until(
        self, condition: Callable[[], bool], meanwhile: Callable[[], None] = lambda: None, others: Sequence[str] = ()
    ) -> None:
        asyncio.run(self._until(condition, meanwhile, others))

    async def _until(self, condition: Callable[[], bool], meanwhile: Callable[[], None], others: Sequence[str]) -> None:
        schedulers = [await self.make(), *[await self.make(self.candidate(name)) for name in others]]
        for each in schedulers:
            each.start()
            each.start()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                meanwhile()
                await asyncio.sleep(0.02)
        for each in schedulers:
            each.stop()

    def damage(self, schedule_id: str) -> None:
        """Make the definition one that this version cannot read."""
        key = self.keys.partition_of(schedule_id).schedule(schedule_id)
        revision = self.standing(schedule_id).revision
        self.link.exchange([Command(key, "HSET", key, f"definition:{revision}", b"of another version")])

    def due_at(self, schedule_id: str) -> float:
        return dict(self.reader.due(EVERYTHING, 10))[schedule_id]

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
    tick = bench.decide()
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
    bench.damage("damaged")
    bench.put(tick=tick)
    bench.run_until(lambda: len(bench.begun) >= 1)
    assert bench.begun[0] == run_id_of(ID, tick)
    assert bench.due_at("damaged") > bench.housekeeping.time() + 30


def test_a_tick_is_settled_when_the_broker_has_its_messages_and_is_not_published_again_before(
    bench: SchedulerBench,
) -> None:
    tick = bench.decide()
    bench.road.is_away = True
    looks = Looks()
    bench.run_until(lambda: looks.number > LOOKS, looks.count)
    assert bench.begun == [run_id_of(ID, tick)]
    assert len(bench.recorded()) == 1
    bench.run_until(lambda: bench.recorded() == [], bench.road.confirm)
    assert [each.state for each in bench.record().started] == ["started"]


def test_what_a_leader_does_not_decide_about_the_next_in_line_does(bench: SchedulerBench) -> None:
    bench.follow()
    first = bench.tick(0.5)
    bench.put(tick=first, overlap=Overlap.ALLOW_ALL)
    bench.run_until(lambda: len(bench.begun) >= 3 and bench.recorded() == [])
    assert bench.leadership.epochs == {}
    assert bench.begun[:3] == [run_id_of(ID, first + at * SECOND) for at in range(3)]
    assert all(each.at * 1000 >= each.tick for each in bench.record().started)


def test_what_a_dead_leader_had_recorded_the_next_in_line_begins(bench: SchedulerBench) -> None:
    bench.follow()
    tick = bench.decide()
    bench.run_until(lambda: bench.recorded() == [] and len(bench.begun) >= 1)
    assert bench.begun == [run_id_of(ID, tick)]


def test_a_keeper_gives_signs_of_life_until_all_is_done(bench: SchedulerBench) -> None:
    bench.put(tick=bench.tick())
    bench.road.is_away = True
    given: set[float] = set()

    def listen() -> None:
        given.update(bench.signs.read(0.0).values())

    bench.run_until(lambda: len(given) >= 3, listen)
    assert bench.recorded() != []
    bench.run_until(lambda: bench.recorded() == [] and bench.signs.read(0.0) == {}, bench.road.confirm)


def test_damaged_signs_of_life_hold_nothing_up(bench: SchedulerBench) -> None:
    bench.follow()
    bench.link.exchange([Command(bench.keys.beginning, "SADD", bench.keys.beginning, "of another type")])
    tick = bench.decide()
    bench.put("soon", tick=bench.tick())
    bench.run_until(lambda: bench.recorded() == [] and len(bench.begun) >= 2)
    assert run_id_of(ID, tick) in bench.begun


def test_what_waits_behind_a_dead_leader_the_next_in_line_lets_go(bench: SchedulerBench) -> None:
    bench.follow()
    tick = bench.tick(-5)
    bench.put(tick=tick, overlap=Overlap.BUFFER_ALL)
    far = bench.firing(tick, tick + SECOND)._replace(following=tick + 10**9, begins_at=tick + 10**9)
    bench.schedules.fire_schedules([far])
    bench.begin_all()
    bench.end(run_id_of(ID, tick))
    bench.published.clear()
    bench.run_until(lambda: bench.recorded() == [] and len(bench.begun) >= 1)
    assert bench.begun == [run_id_of(ID, tick + SECOND)]


def test_what_a_living_keeper_has_recorded_is_left_to_it_for_a_while(bench: SchedulerBench) -> None:
    bench.follow()
    bench.now = bench.housekeeping.time()
    bench.signs.give("other", bench.now + 3600)
    bench.put("soon", tick=bench.tick())
    bench.decide()
    recorded_at = bench.housekeeping.time()
    begun_at: list[float] = []

    def look() -> None:
        if any(run_id.startswith(f"{ID}@") for run_id in bench.begun):
            begun_at.append(bench.housekeeping.time())

    bench.run_until(lambda: bool(begun_at), look)
    assert begun_at[0] >= recorded_at + LEFT_SECONDS


@pytest.mark.parametrize("leads", [True, False])
def test_what_a_keeper_had_recorded_that_is_quiet_now_is_not_left_to_it(
    bench: SchedulerBench, monkeypatch: pytest.MonkeyPatch, leads: bool
) -> None:
    monkeypatch.setattr(scheduler, "LEFT_SECONDS", 3600.0)
    monkeypatch.setattr(standing_in, "LEFT_SECONDS", 3600.0)
    if not leads:
        bench.follow()
    bench.put("soon", tick=bench.tick(1.0))
    bench.signs.give("dead", bench.housekeeping.time())
    tick = bench.decide()
    bench.run_until(lambda: bench.recorded() == [] and run_id_of(ID, tick) in bench.begun)


@pytest.mark.parametrize(
    ("last", "quiet"),
    [
        ((), -math.inf),
        ((10.0,), 10.0 + QUIET_SECONDS),
        ((10.0, 10.1, 10.2), 10.0 + QUIET_SECONDS),
        ((10.0 - 2 * QUIET_SECONDS, 10.1), 10.1 + QUIET_SECONDS),
        ((10.0 - 2 * QUIET_SECONDS,), -math.inf),
    ],
)
def test_only_a_keeper_that_lived_then_can_have_recorded_a_tick(last: Sequence[float], quiet: float) -> None:
    assert quiet_at(10.0, last) == quiet


def test_who_cannot_publish_takes_nothing_over(bench: SchedulerBench) -> None:
    bench.follow()
    tick = bench.decide()
    bench.road.is_down = True
    looks = Looks()
    bench.run_until(lambda: looks.number > LOOKS, looks.count)
    assert bench.begun == []
    bench.road.is_down = False
    bench.run_until(lambda: bench.recorded() == [])
    assert bench.begun == [run_id_of(ID, tick)]


def test_signs_end_where_nobody_heeds_them_any_more(bench: SchedulerBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signs, "LEFT_SECONDS", 0.1)

    async def give() -> None:
        now = bench.housekeeping.time
        own = OwnSigns(bench.signs, "me", now)
        for _ in range(2):
            begun_at = now()
            await own.begin()
            async with asyncio.timeout(PATIENCE_SECONDS):
                while own.are_given:
                    await asyncio.sleep(0.01)
            assert bench.signs.read(0.0)["me"] >= begun_at
        await own.begin()
        await own.end()
        assert bench.signs.read(0.0) == {}

    asyncio.run(give())


def test_who_is_too_far_back_in_line_does_nothing(bench: SchedulerBench) -> None:
    bench.put(tick=bench.tick(-3))
    bench.follow()
    looks, turns = Looks(), dict.fromkeys(range(PARTITIONS), STAND_INS + 1)

    def hold() -> None:
        bench.leadership.turns = turns
        looks.count()

    bench.run_until(lambda: looks.number > LOOKS, hold)
    assert bench.begun == []


def test_only_a_leader_gives_up(bench: SchedulerBench) -> None:
    bench.follow()
    tick = bench.decide(params={"a": 1})
    bench.put("damaged", tick=tick)
    bench.damage("damaged")
    looks = Looks()
    bench.run_until(lambda: looks.number > LOOKS, looks.count)
    assert len(bench.recorded()) == 1, "its run is refused, and that is not for one who stands in to say"
    assert bench.due_at("damaged") == tick / 1000
    bench.link.exchange([Command(each.keeper, "DEL", each.keeper) for each in bench.keys.partitions])
    bench.link.exchange([Command(bench.keys.keepers, "DEL", bench.keys.keepers)])
    bench.run_until(lambda: bench.recorded() == [] and bench.due_at("damaged") > tick / 1000)
    assert [each.state for each in bench.record().started] == ["refused"]


def test_many_keepers_at_once_begin_each_of_many_ticks_once(bench: SchedulerBench) -> None:
    tick = bench.tick(1.0)
    ids = [f"s{number}" for number in range(MANY)]
    for each in ids:
        bench.put(each, tick=tick, overlap=Overlap.ALLOW_ALL)
    wanted = {run_id_of(each, tick) for each in ids}
    bench.run_until(lambda: wanted <= set(bench.begun) and bench.recorded() == [], others=("you", "they"))
    for each in ids:
        record = bench.reader.record(each)
        assert record is not None
        assert len(record.started) == record.counts["begun"] == len({run.run_id for run in record.started})
        assert record.passed == []


def test_a_member_of_what_is_due_is_read_back() -> None:
    recorded = Recorded("a@b@20261130T004500Z", 1, "7", "tick")
    assert Recorded.parse(recorded.member) == recorded
    assert recorded.schedule_id == "a@b"
