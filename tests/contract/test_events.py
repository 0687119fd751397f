"""Events are recorded with the end that they tell of, once, where the flow asks for them; and wait to be published."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import redis

from taskmesh.dispatch.plan import Plan
from taskmesh.errors import StoreUnavailableError
from taskmesh.model.flow import Compensation, Events, Flow, Node, OnFailure
from taskmesh.store.calls import Marking, NodeKey, Who
from taskmesh.store.events.recorded import RUN_ITSELF, Emitted, EventOutbox
from taskmesh.store.scripts import Script
from taskmesh.wire import pack
from tests.contract.store_bench import Bench
from tests.model.lab import Lab

MORE = Counter(sadd=1, zcard=4, get=3, zadd=1, spublish=7)
"""What a run of three nodes asks of Redis more where its own end is sent: its partition is noted, each script that may
end it checks that this can be recorded, one records it, and each transition is announced."""

MOST = 50_000
"""As in prelude.lua."""


class EventBench(Bench):
    """A store and its events."""

    def __init__(self, url: str, namespace: str) -> None:
        super().__init__(url, namespace)
        self.events = EventOutbox(self.link, self.keys)

    def waiting(self) -> list[Emitted]:
        return self.events.waiting(1000, range(4))

    def told(self) -> list[tuple[str, int, str]]:
        """Whose ends wait to be published, in order."""
        return [(each.kind, each.node, each.state) for each in self.waiting()]


@pytest.fixture
def bench(redis_url: str, namespace: str) -> Iterator[EventBench]:
    bench = EventBench(redis_url, namespace)
    yield bench
    bench.link.close()


def chain(events: Events, on_failure: OnFailure = OnFailure.FAIL_FAST) -> Plan:
    nodes = Node("a", "t"), Node("b", "t", needs=("a",)), Node("c", "t", needs=("b",))
    return Plan.of(Flow("flow", "1", nodes, events=events, on_failure=on_failure))


def test_each_end_is_recorded_in_order(bench: EventBench) -> None:
    plan = chain(Events.NODES)
    bench.admit(plan)
    for node in range(3):
        bench.run_through(plan, node)
    assert bench.told() == [
        ("node", 0, "succeeded"),
        ("node", 1, "succeeded"),
        ("node", 2, "succeeded"),
        ("run", RUN_ITSELF, "succeeded"),
    ]
    last = bench.waiting()[-1]
    assert (last.run_id, last.at) == ("r1", bench.record().summary.finished_at)


def test_of_runs_only_their_own_end_is_recorded(bench: EventBench) -> None:
    plan = chain(Events.RUNS)
    bench.admit(plan)
    bench.run_through(plan, 0)
    assert bench.told() == []
    bench.controls.terminate_runs([("r1", plan.hash)], Who("somebody", "why"))
    assert bench.told() == [("run", RUN_ITSELF, "terminated")]


def test_what_cannot_run_any_more_is_recorded_with_what_it_follows_from(bench: EventBench) -> None:
    plan = chain(Events.NODES, OnFailure.CONTINUE)
    bench.admit(plan)
    bench.run_through(plan, 0, "failed")
    assert bench.told() == [
        ("node", 0, "failed"),
        ("node", 1, "upstream_failed"),
        ("node", 2, "upstream_failed"),
        ("run", RUN_ITSELF, "failed"),
    ]


def test_a_repeated_call_records_nothing_anew(bench: EventBench) -> None:
    plan = chain(Events.NODES)
    bench.admit(plan)
    token = bench.claim(plan, 0).token
    for _ in range(3):
        bench.settle(plan, 0, token)
    [event] = bench.waiting()
    assert (event.node, event.attempt) == (0, 1)


def test_an_event_has_the_same_id_each_time_that_it_is_read_and_no_other_has_it(bench: EventBench) -> None:
    plan = chain(Events.NODES)
    for run_id in ("r1", "r2"):
        bench.admit(plan, run_id)
        for node in range(3):
            bench.run_through(plan, node, run_id=run_id)
    ids = [each.event_id for each in bench.waiting()]
    assert ids == [each.event_id for each in bench.waiting()]
    assert len(set(ids)) == len(ids) == 8


def test_a_published_event_is_gone_and_the_others_stay(bench: EventBench) -> None:
    plan = chain(Events.NODES)
    bench.admit(plan)
    for node in range(3):
        bench.run_through(plan, node)
    bench.events.forget(bench.waiting()[:2])
    assert bench.told() == [("node", 2, "succeeded"), ("run", RUN_ITSELF, "succeeded")]
    assert bench.events.backlog(range(4)) == (2, 0)


def test_marking_and_undoing_are_recorded(bench: EventBench) -> None:
    nodes = Node("a", "t", compensation=Compensation("u")), Node("b", "t", needs=("a",))
    plan = Plan.of(Flow("flow", "1", nodes, events=Events.NODES, on_failure=OnFailure.COMPENSATE))
    bench.admit(plan)
    first, pool = plan.chunks(0)[0], plan.pool_of(0)
    mark = Marking(NodeKey("r1", 0), "succeeded", b"\xc0", "by me: so", plan.hash, pool, plan.pools, first.packed, True)
    bench.controls.mark_nodes([mark._replace(can_be_undone=True)])
    bench.run_through(plan, 1, "failed", halt="failed")
    bench.advancer.resume(plan, NodeKey("r1", -4), "r1")
    bench.run_through(plan, plan.undo_of(0))
    assert bench.told() == [
        ("node", 0, "succeeded"),
        ("node", 1, "failed"),
        ("node", 2, "succeeded"),
        ("run", RUN_ITSELF, "compensated"),
    ]


def test_watching_a_run_that_sends_events_leaves_it_as_it_is(bench: EventBench) -> None:
    plan = chain(Events.NODES)
    bench.admit(plan)
    bench.store.watch_run("r1")
    bench.run_through(plan, 0)
    assert bench.told() == [("node", 0, "succeeded")]


def test_a_run_that_ends_again_after_a_retry_tells_of_each_end(bench: EventBench) -> None:
    plan = Plan.of(Flow("flow", "1", (Node("a", "t"),), events=Events.RUNS))
    bench.admit(plan)
    bench.run_through(plan, 0, "failed", halt="failed")
    bench.controls.reopen_run("r1", plan.hash, "retry")
    bench.controls.resume_runs([("r1", plan.hash)], "retry")
    # Nothing of it was reset, so nothing has failed since.
    assert bench.told() == [("run", RUN_ITSELF, "failed"), ("run", RUN_ITSELF, "succeeded")]
    assert len({each.event_id for each in bench.waiting()}) == 2


def test_partitions_are_known_before_their_first_event(bench: EventBench) -> None:
    assert bench.events.partitions() == frozenset()
    bench.admit(chain(Events.NONE), "quiet")
    assert bench.events.partitions() == frozenset()
    bench.admit(chain(Events.RUNS), "loud")
    assert bench.events.partitions() == {bench.keys.partition_of("loud").number}


def test_a_fork_sends_what_its_flow_says(bench: EventBench, client: redis.Redis) -> None:
    lab, plan = Lab(bench.link, bench.keys.namespace, 1000.0), chain(Events.RUNS)
    lab.fork(plan, "r1", b"digest", with_flow=True)
    assert lab.keys.partition_of("r1").number in EventOutbox(bench.link, lab.keys).partitions()
    assert client.hget(lab.keys.run("r1"), "watched") == b"runs"


def test_flows_without_events_ask_redis_for_nothing_more(bench: EventBench, client: redis.Redis) -> None:
    """Each command of a settled node is counted: what a flow costs that sends none is what it cost before."""
    sent = {events: _commands(bench, client, chain(events), f"{events}") for events in Events}
    assert sent[Events.NONE] == sent[Events.RUNS] - MORE
    assert sent[Events.RUNS] >= MORE


def _commands(bench: EventBench, client: redis.Redis, plan: Plan, run_id: str) -> Counter[str]:
    client.config_resetstat()
    bench.admit(plan, run_id)
    for node in range(3):
        bench.run_through(plan, node, run_id=run_id)
    counted = {name.removeprefix("cmdstat_"): found["calls"] for name, found in client.info("commandstats").items()}
    others = ("config", "eval", "info", "client", "hello", "script")
    return Counter({name: calls for name, calls in counted.items() if not name.startswith(others)})


def test_when_there_is_no_more_room_the_oldest_go_and_are_counted(bench: EventBench, client: redis.Redis) -> None:
    plan = chain(Events.NODES)
    bench.admit(plan)
    key = bench.keys.partition_of("r1").emitted
    for start in range(0, MOST, 5000):
        client.zadd(key, {f"older {number}": number for number in range(start, start + 5000)})
    bench.run_through(plan, 0)
    assert bench.events.backlog([bench.keys.partition_of("r1").number]) == (MOST, 1)
    assert client.zscore(key, "older 0") is None
    assert client.zscore(key, "older 1") == 1


def test_what_is_no_event_is_thrown_away(bench: EventBench, client: redis.Redis) -> None:
    plan = chain(Events.NODES)
    bench.admit(plan)
    bench.run_through(plan, 0)
    key = bench.keys.partition_of("r1").emitted
    client.zadd(key, {b"\xc1": 0, b"\x93\x01\x02\x03": 0, pack([1, "run", -1, "failed", 1.0, 0]): 0})
    assert bench.told() == [("node", 0, "succeeded")]
    assert client.zcard(key) == 1


Act = Callable[[EventBench, Plan], object]


def _settle(bench: EventBench, plan: Plan) -> object:
    return bench.settle(plan, 0, 2)


def _mark(bench: EventBench, plan: Plan) -> object:
    first, pool = plan.chunks(0)[0], plan.pool_of(0)
    mark = Marking(NodeKey("r1", 0), "skipped", b"", "by me", plan.hash, pool, plan.pools, first.packed, True)
    return bench.controls.mark_nodes([mark])


def _terminate(bench: EventBench, plan: Plan) -> object:
    return bench.controls.terminate_runs([("r1", plan.hash)], Who("me", ""))


ENDINGS: dict[str, Act] = {"settle": _settle, "mark": _mark, "terminate": _terminate}


@pytest.mark.parametrize("part", ["emitted", "lost_events"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_an_end_that_meets_another_type_there_writes_nothing(
    bench: EventBench, client: redis.Redis, ending: str, part: str
) -> None:
    plan = chain(Events.NODES)
    bench.admit(plan)
    bench.claim(plan, 0)
    partition = bench.keys.partition_of("r1")
    client.rpush(getattr(partition, part), "a list")
    before = _everything(client, bench.keys.namespace)
    with contextlib.suppress(StoreUnavailableError):
        ENDINGS[ending](bench, plan)
    assert _everything(client, bench.keys.namespace) == before


def _everything(client: redis.Redis, namespace: str) -> dict[bytes, object]:
    return {key: client.dump(key) for key in client.scan_iter(f"{namespace}:*")}


MISTAKES = {
    "nobody hears of a node that was left out": ("note_end(watched, node, fate", "note(watched, 'node', node, fate"),
    "nobody hears of the end of a run": ("emit(watched, 'run', -1, status, now, 0)", ""),
    "a flow that sends of runs sends of nodes": ("and kind == 'run'", ""),
    "events are told in any order": ("now + before * EVENT_STEP", "now - before"),
    "the newest goes first": ("redis.call('ZREMRANGEBYRANK', key, 0, surplus - 1)", "return"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_of_these_mistakes_is_found(bench: EventBench, client: redis.Redis, mistake: str) -> None:
    old, new = MISTAKES[mistake]
    scripts = bench.store._scripts
    for name in ("settle_node", "spread_node"):
        source = scripts[name].source
        assert old in source
        scripts._scripts[name] = Script(name, source.replace(old, new))
    checks = (
        test_what_cannot_run_any_more_is_recorded_with_what_it_follows_from,
        test_of_runs_only_their_own_end_is_recorded,
    )
    found = 0
    for check in checks:
        try:
            check(bench)
        except AssertionError:
            found += 1
        client.delete(*client.scan_iter(f"{bench.keys.namespace}:*"))
        for holder in ("me", "other"):
            bench.housekeeping.renew_holder(holder, 30.0)
    if mistake == "the newest goes first":
        with pytest.raises(AssertionError):
            test_when_there_is_no_more_room_the_oldest_go_and_are_counted(bench, client)
    else:
        assert found
