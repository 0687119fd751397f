"""Batches of events in the store: an event is in one of them, and none goes before its run is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import redis

from taskmesh.dispatch.events.batches import EventCollector
from taskmesh.dispatch.events.runs import EventRuns
from taskmesh.dispatch.plans import Plans
from taskmesh.errors import StoreUnavailableError
from taskmesh.model.events.batching import Batching
from taskmesh.model.events.gathering import run_id_of
from taskmesh.model.events.on_event import OnEvent
from taskmesh.model.flow import Flow, Node, Param, ParamType
from taskmesh.model.states import RunState
from taskmesh.store.calls import Word
from taskmesh.store.events import batches as event_batches
from taskmesh.store.events.batches import KNOWN_SECONDS, MOST_BYTES
from taskmesh.store.link import Command, Reply
from taskmesh.store.opening import open_link
from tests.contract.batch_bench import EVERYWHERE, LIMIT, NOW, WINDOW, BatchBench, event, flow_of

NO_PLANS = Plans(lambda *_: None)

SEEN_KEPT = 10_000
"""As in gather_event.lua."""


@pytest.fixture(params=["redis_url", "valkey_url", "redis_cluster_url"])
def bench(request: pytest.FixtureRequest, namespace: str) -> Iterator[BatchBench]:
    link = open_link(request.getfixturevalue(request.param), 2.0, 5.0)
    yield BatchBench(link, namespace)
    link.close()


@pytest.fixture
def redis_bench(redis_url: str, namespace: str) -> Iterator[BatchBench]:
    link = open_link(redis_url, 2.0, 5.0)
    yield BatchBench(link, namespace)
    link.close()


def test_a_batch_is_gathered_closed_begun_and_settled(bench: BatchBench) -> None:
    bench.push()
    assert bench.gather(0, 1) == [Word.GATHERED] * 2
    bench.now += WINDOW - 1
    assert bench.gather(2) == [Word.GATHERED]
    assert bench.reader.next_to_close(10, EVERYWHERE) == [(bench.gathering_id, NOW + WINDOW)]
    assert bench.close() is Word.MOVED
    bench.now += 1
    assert (bench.close(), bench.close()) == (Word.CLOSED, Word.MOVED)
    assert bench.open() is None
    assert bench.reader.next_to_close(10, EVERYWHERE) == []
    [batch] = bench.closed()
    assert bench.events_of(batch) == bench.packed(0, 1, 2)
    [begun] = bench.begin([batch])
    assert begun.why == ""
    run_id = run_id_of(*batch)
    assert [each.run_id for each in bench.published] == [run_id]
    assert bench.settle([batch]) == [Word.SETTLED]
    assert bench.closed() == []
    assert bench.runs.statuses([run_id]) == [RunState.RUNNING]


def test_whoever_begins_a_batch_again_begins_the_same_run(bench: BatchBench) -> None:
    bench.push()
    bench.gather(0, 1, most_events=2)
    for _ in range(2):
        [begun] = bench.begin(bench.closed())
        assert begun.why == ""
    assert len(bench.runs.list_runs(False, 10)) == 1
    assert bench.settle(bench.closed() * 2) == [Word.SETTLED] * 2


def test_an_event_is_gathered_once_while_its_batch_is_there_and_long_after(bench: BatchBench) -> None:
    bench.gather(0)
    assert bench.gather(0, 1) == [Word.SAME, Word.GATHERED]
    bench.now += WINDOW
    bench.close()
    assert bench.gather(0, 1, 2) == [Word.SAME, Word.SAME, Word.GATHERED]
    # Nobody keeps house for longer than events are known after their run.
    bench.now += 2 * KNOWN_SECONDS
    assert bench.gather(0) == [Word.SAME]
    bench.settle(bench.closed())
    bench.now += KNOWN_SECONDS - 1
    assert bench.gather(0, 1) == [Word.SAME] * 2
    bench.now += 2
    assert bench.gather(0) == [Word.GATHERED]


def test_no_event_is_known_for_longer_than_runs_are_kept(bench: BatchBench) -> None:
    bench.retention_seconds = 100.0
    bench.gather(0, most_events=1)
    bench.settle(bench.closed())
    bench.now += 99
    assert bench.gather(0) == [Word.SAME]
    bench.now += 2
    assert bench.gather(0) == [Word.GATHERED]


def test_the_events_of_a_batch_that_cannot_begin_may_come_again(bench: BatchBench) -> None:
    bench.gather(0, 1, most_events=2)
    bench.gather(2)
    bench.settle(bench.closed(), is_begun=False)
    assert bench.gather(0, 1, 2) == [Word.GATHERED, Word.GATHERED, Word.SAME]


def test_silence_closes_a_batch_and_so_does_its_bound(bench: BatchBench) -> None:
    bench.flow = flow_of(Batching(debounce_seconds=10, max_wait_seconds=25))
    closes = []
    for number in range(4):
        bench.gather(number)
        standing = bench.open()
        assert standing is not None
        closes.append(standing.closes_at - NOW)
        bench.now += 8
    assert closes == [10, 18, 25, 25]
    # What comes when its time is over, before any keeper has closed it, is in the next one.
    bench.gather(4)
    [batch] = bench.closed()
    assert bench.events_of(batch) == bench.packed(0, 1, 2, 3)
    standing = bench.open()
    assert standing is not None
    assert (standing.opened_at, standing.size) == (bench.now, 1)


def test_a_full_batch_closes_at_once(bench: BatchBench) -> None:
    bench.gather(0, 1, 2, 3, 4, most_events=2)
    assert [bench.events_of(each) for each in bench.closed()] == [bench.packed(0, 1), bench.packed(2, 3)]
    standing = bench.open()
    assert standing is not None
    assert standing.size == 1


def test_an_event_that_does_not_fit_opens_the_next_batch(bench: BatchBench) -> None:
    bench.gather(0, 1, 2, weight=40, most_bytes=100)
    assert [bench.events_of(each) for each in bench.closed()] == [bench.packed(0, 1)]
    # One that is too large by itself is not lost for that.
    bench.gather(3, weight=500, most_bytes=100)
    assert bench.events_of(bench.closed()[-1]) == bench.packed(2)
    standing = bench.open()
    assert standing is not None
    assert (standing.size, standing.weight) == (1, 500)


def test_an_event_of_another_version_opens_the_next_batch(bench: BatchBench) -> None:
    bench.gather(0)
    before = bench.open()
    bench.flow = replace(bench.flow, version="2")
    bench.gather(1)
    after = bench.open()
    assert before is not None
    assert after is not None
    assert bench.closed() == [before.batch]
    assert after.flow_hash != before.flow_hash


def test_no_two_batches_have_one_number_though_the_time_stands_still(bench: BatchBench) -> None:
    numbers = []
    for number in range(5):
        bench.gather(number, most_events=1)
        [batch] = bench.closed()
        numbers.append(batch.number)
        bench.settle([batch])
    assert len(set(numbers)) == 5


def test_a_gathering_without_a_batch_takes_nothing_and_goes(redis_bench: BatchBench, redis_url: str) -> None:
    bench, client = redis_bench, redis.Redis.from_url(redis_url)
    keys = bench.keys.partition_of(bench.gathering_id)
    gathering, seen = keys.gathering(bench.gathering_id), keys.seen(bench.gathering_id)
    bench.gather(*range(600), weight=1, most_events=600)
    bench.gather(601)
    bench.settle(bench.closed())
    # One that takes events is kept, however long that is.
    assert (client.ttl(gathering), client.ttl(seen)) == (-1, -1)
    bench.now += WINDOW
    bench.close()
    bench.settle(bench.closed())
    assert int(client.get(keys.gathered_bytes) or 0) == 0
    assert set(client.hkeys(gathering)) == {b"flow", b"key", b"last"}
    assert KNOWN_SECONDS - 60 <= client.ttl(gathering) <= KNOWN_SECONDS
    assert KNOWN_SECONDS - 60 <= client.ttl(seen) <= KNOWN_SECONDS
    bench.gather(602)
    assert (client.ttl(gathering), client.ttl(seen)) == (-1, -1)
    client.close()


def test_what_is_known_of_events_is_bounded(redis_bench: BatchBench) -> None:
    bench = redis_bench
    for start in range(0, SEEN_KEPT, 500):
        assert set(bench.gather(*range(start, start + 500), most_events=1000)) == {Word.GATHERED}
    # All are in batches that have not begun, so none may be forgotten.
    assert bench.gather(SEEN_KEPT) == [Word.BEHIND]
    with pytest.raises(StoreUnavailableError, match="so many events of key '' of flow 'sync' wait for their runs"):
        EventCollector(bench.store).gather([bench.joining(event(SEEN_KEPT))])
    assert bench.gather(0) == [Word.SAME]
    bench.settle(bench.closed()[:1])
    assert bench.gather(SEEN_KEPT) == [Word.GATHERED]
    # The oldest of those that have begun made room.
    words = bench.gather(*range(1000))
    assert words.count(Word.GATHERED) > 0
    assert bench.gather(1001) == [Word.SAME]


def test_what_is_gathered_is_bounded_and_comes_again_when_there_is_room(
    redis_bench: BatchBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = redis_bench
    monkeypatch.setattr(event_batches, "MOST_BYTES", 1000)
    assert bench.gather(0, 1) == [Word.GATHERED] * 2
    assert bench.gather(2) == [Word.FULL]
    # What is open takes the room, so it makes some.
    collector = EventCollector(bench.store)
    with pytest.raises(StoreUnavailableError, match="has no more room for events"):
        collector.gather([bench.joining(event(2))])
    assert [bench.events_of(each) for each in bench.closed()] == [bench.packed(0, 1)]
    with pytest.raises(StoreUnavailableError, match="has no more room for events"):
        collector.gather([bench.joining(event(2))])
    bench.settle(bench.closed())
    assert collector.gather([bench.joining(event(2))]) == [""]
    assert MOST_BYTES > 32 * 1_048_576


def test_batches_of_which_nothing_is_left_are_told(redis_bench: BatchBench) -> None:
    bench = redis_bench
    bench.gather(0, most_events=1)
    bench.gather(1)
    [batch] = bench.closed()
    key = bench.keys.partition_of(bench.gathering_id).gathering(bench.gathering_id)
    bench.link.exchange([Command(key, "DEL", key)])
    assert bench.reader.closed_standings([batch]) == [None]
    assert bench.close() is Word.MOVED
    assert bench.reader.next_to_close(10, EVERYWHERE) == []
    bench.settle([batch])
    assert bench.closed() == []


def test_a_version_that_cannot_be_read_is_told_and_asked_for_again(bench: BatchBench) -> None:
    bench.gather(0, most_events=1)
    [begun] = bench.begin(bench.closed())
    assert begun.why == "flow 'sync': the version under which its events were gathered cannot be read"
    bench.push()
    assert [each.why for each in bench.begin(bench.closed())] == [""]


def test_an_event_begins_a_run_of_one_flow_and_is_gathered_by_another(bench: BatchBench) -> None:
    bench.push()
    on = OnEvent("changed", params={"event": "${event.data}"})
    plain = Flow("plain", "1", (Node("a", "t"),), (Param("event", ParamType.ANY),), on=on)
    bench.versions.push(plain, activate=True)
    runs = EventRuns(bench.store, NO_PLANS, LIMIT)
    first, again = runs.admit([event(1)]), runs.admit([event(1), event(2)])
    assert [len(each.run_ids) for each in (*first, *again)] == [1, 1, 1]
    standing = bench.open()
    assert standing is not None
    assert standing.size == 2
    assert len(bench.runs.list_runs(False, 10)) == 2


def test_what_is_damaged_keeps_no_other_flow_from_an_event(bench: BatchBench) -> None:
    bench.push()
    bench.flow = replace(bench.flow, name="other")
    bench.push()
    key = bench.keys.partition_of(bench.gathering_id).gathering(bench.gathering_id)
    bench.link.exchange([Command(key, "SADD", key, "of another type")])
    [arrival] = EventRuns(bench.store, NO_PLANS, LIMIT).admit([event(1)])
    assert arrival.refusals == ["flow 'other': what the store holds for the events of this flow is damaged"]
    bench.flow = replace(bench.flow, name="sync")
    assert bench.open() is not None


def test_flows_that_gather_nothing_ask_for_nothing_of_batches(redis_bench: BatchBench) -> None:
    bench, asked = redis_bench, []
    bench.versions.push(Flow("plain", "1", (Node("a", "t"),), on=OnEvent("changed")), activate=True)
    runs, exchange = EventRuns(bench.store, NO_PLANS, LIMIT), bench.link.exchange

    def noting(commands: Sequence[Command]) -> list[Reply]:
        asked.extend(commands)
        return exchange(commands)

    bench.link.exchange = noting  # type: ignore[method-assign]
    [arrival] = runs.admit([event(1)])
    assert len(arrival.run_ids) == 1
    assert asked
    assert [each.key for each in asked if "gather" in each.key or (each.script and "batch" in each.script.name)] == []
