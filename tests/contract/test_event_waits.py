"""Events and the nodes that wait for them, on every server: whoever comes second finds the other, once, in bounds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import redis

from taskmesh.dispatch.advance import Entrance, admission_of
from taskmesh.dispatch.events.runs import EventRuns
from taskmesh.dispatch.events.waits import Begun, EventDelivery, place_of
from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.plans import Plans
from taskmesh.model.events.on_event import InboundEvent
from taskmesh.model.events.waits import Awaited, EventWait, key_of_match
from taskmesh.model.flow import Flow, Node, Param
from taskmesh.model.subflows import Subflow
from taskmesh.model.validation import complete
from taskmesh.store.calls import NodeKey, Who, Word
from taskmesh.store.events import waits as event_waits
from taskmesh.store.events.waits import EventWaits, Keeping, Registration, Waiter
from taskmesh.store.link import Command
from taskmesh.store.preparations import Fork
from taskmesh.wire import pack, unpack
from tests.contract.store_bench import Bench, header_of

PAID = EventWait(event="paid", filter="event.data.amount > 0", payload={"type": "object", "required": ["amount"]})
FLOW = Flow("order", "1", (Node("a", "", {"id": "${params.id}"}, step=PAID),), params=(Param("id"),))
PLAN = Plan.of(complete(FLOW))
NODE = NodeKey("r1", 0)


class Desk:
    """A worker that lets nodes wait, and one that takes events."""

    def __init__(self, url: str, namespace: str) -> None:
        self.bench = Bench(url, namespace)
        self.store = self.bench.store
        self.plans = Plans(self.bench.reader.flow_body)
        self.waits = EventWaits(self.store)
        self.delivery = EventDelivery(self.store, self.plans)
        self.runs = EventRuns(self.store, self.plans, 10_000)

    def admit(self, run_id: str = "r1", id_: str = "o-1", plan: Plan = PLAN) -> None:
        self.bench.admit(plan, run_id, {"id": id_})

    def begin(self, run_id: str = "r1", id_: str = "o-1", plan: Plan = PLAN, heard: Sequence[str] = ()) -> list[str]:
        """Claim the node of a run and let it wait; the runs that are ready by an event that has come."""
        record = self.bench.record(run_id).nodes[0]
        token = self.bench.claim(plan, 0, run_id=run_id, token=record.token).token
        place = place_of(PAID, {"id": id_}, NodeKey(run_id, 0), 0)
        [arrived] = self.delivery.begin([Begun(plan, PAID, place, run_id, 60.0, heard)])
        assert arrived.refusals == []
        parked: dict[str, Any] = {"delay_seconds": 60.0, "counts": False, "cause": "signal", "output": b""}
        word = self.bench.settle(plan, 0, token, "retrying", run_id=run_id, **parked).word
        assert word is (Word.STALE if arrived.ready else Word.RETRYING)
        return [ready.run_id for ready in arrived.ready]

    def publish(self, *events: InboundEvent) -> list[list[str]]:
        """The runs with nodes that are ready by each event."""
        arrivals = self.runs.admit(events)
        assert [each.refusals for each in arrivals] == [[] for _ in events]
        return [[ready.run_id for ready in each.ready] for each in arrivals]

    def state(self, run_id: str = "r1") -> str:
        return str(self.bench.record(run_id).nodes[0].state)

    def data(self, run_id: str = "r1") -> Any:
        return unpack(self.bench.record(run_id).payloads[0])

    def registered(self, id_: str = "o-1", type_: str = "paid") -> set[str]:
        key = key_of_match(type_, {"id": id_})
        [members] = self.bench.link.exchange([Command(name := self._awaiting(key), "ZRANGE", name, 0, -1)])
        return {member.decode() for member in members}

    def _awaiting(self, key: str) -> str:
        return self.bench.keys.partition_of(key).awaiting(key)


@pytest.fixture(params=("redis_url", "valkey_url", "redis_cluster_url"))
def desk(request: pytest.FixtureRequest, namespace: str) -> Iterator[Desk]:
    desk = Desk(request.getfixturevalue(request.param), namespace)
    yield desk
    desk.bench.link.close()


def event(event_id: str = "e-1", id_: str = "o-1", amount: int = 5, type_: str = "paid") -> InboundEvent:
    return InboundEvent(type_, event_id, "bank", {"id": id_, "amount": amount})


def test_an_event_wakes_the_node_that_waits_for_it(desk: Desk) -> None:
    desk.admit()
    assert desk.begin() == []
    assert desk.registered() == {"r1/0/0"}
    assert desk.publish(event(id_="o-2"), event("e-2", amount=0), event("e-3", type_="sent")) == [[], [], []]
    assert desk.state() == "retrying"
    assert desk.publish(event("e-4")) == [["r1"]]
    assert (desk.state(), desk.data()) == ("ready", {"id": "o-1", "amount": 5})
    assert desk.registered() == set()
    signal = desk.bench.record().signals[0]
    assert unpack(signal)[:2] == ["bank/e-4", "event paid of bank"]


def test_an_event_that_comes_first_is_kept_for_its_node(desk: Desk) -> None:
    desk.admit()
    assert desk.publish(event("e-0", amount=0), event("e-1"), event("e-2")) == [[], [], []]
    assert desk.begin() == ["r1"]
    assert desk.data() == {"id": "o-1", "amount": 5}
    assert unpack(desk.bench.record().signals[0])[0] == "bank/e-1"
    assert desk.registered() == set()


def test_an_event_of_which_nobody_waits_is_not_kept(desk: Desk) -> None:
    desk.publish(event())
    desk.admit()
    assert desk.begin() == []


def test_events_are_kept_for_what_a_run_begins_later(desk: Desk) -> None:
    """Of a flow that stands in a node, the run is admitted when its event may have come."""
    outer = Flow("outer", "1", (Node("child", "", {"id": "1"}, step=Subflow(inline=FLOW)),))
    plan = Plan.of(complete(outer))
    assert plan.awaited == (Awaited("paid", ("id",), 600.0),)
    desk.bench.admit(plan, "r0")
    desk.publish(event())
    desk.admit()
    assert desk.begin() == ["r1"]


def test_an_event_is_once_however_often_it_comes(desk: Desk) -> None:
    desk.admit()
    desk.begin()
    first = desk.publish(event(), event())
    assert sorted(map(len, first)) == [1, 1]
    # The message may not have been published by then.
    assert desk.publish(event()) == [[]]
    token = desk.bench.record().nodes[0].token
    claim = desk.bench.claim(PLAN, 0, token=token)
    desk.bench.settle(PLAN, 0, claim.token, output=claim.fields[-1])
    assert desk.publish(event(), event("e-2")) == [[], []]
    assert desk.bench.record().nodes[0].state == "succeeded"


def test_whoever_dies_between_keeping_and_delivering_leaves_it_to_the_next(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.admit()
    desk.begin()

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EventDelivery, "_deliver", die)
        with pytest.raises(KeyboardInterrupt):
            desk.publish(event())
    assert desk.state() == "retrying"
    assert desk.publish(event()) == [["r1"]]


def test_all_who_wait_have_it_and_those_who_come_later(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskmesh.dispatch.events.waits.SIGNALS_PER_CALL", 3)
    run_ids = [f"r{number}" for number in range(10)]
    for run_id in run_ids:
        desk.admit(run_id)
        desk.begin(run_id)
    [ready] = desk.publish(event())
    assert sorted(ready) == sorted(run_ids)
    desk.admit("late")
    assert desk.begin("late") == ["late"]


def test_what_cannot_take_an_event_refuses_it_and_others_take_it(desk: Desk) -> None:
    strict = replace(PAID, payload={"type": "object", "required": ["amount", "currency"]})
    plan = Plan.of(complete(replace(FLOW, nodes=(Node("a", "", {"id": "${params.id}"}, step=strict),))))
    desk.admit("r1")
    desk.begin("r1")
    desk.admit("r2", plan=plan)
    desk.begin("r2", plan=plan)
    [arrival] = desk.runs.admit([event()])
    assert [ready.run_id for ready in arrival.ready] == ["r1"]
    [sentence] = arrival.refusals
    assert sentence.startswith("node 'a' of run 'r2': the data of the event do not keep to its schema: 'currency'")
    [arrival] = desk.runs.admit([event()._replace(data={"id": "o-1"})])
    assert "'event.data.amount > 0' cannot be evaluated" in arrival.refusals[0]
    assert desk.registered() == {"r2/0/0"}


def test_one_that_has_ended_or_is_gone_is_found_no_more(desk: Desk) -> None:
    desk.admit()
    desk.begin()
    desk.bench.controls.terminate_runs([("r1", PLAN.hash)])
    assert desk.publish(event()) == [[]]
    assert desk.registered() == set()
    desk.waits.register([Registration(key_of_match("paid", {"id": "o-1"}), Waiter(NodeKey("gone", 0), 0), 60.0, 0.0)])
    assert desk.registered() == {"gone/0/0"}
    assert desk.publish(event("e-2")) == [[]]
    assert desk.registered() == set()


def test_an_event_that_a_node_has_ended_with_does_not_count_again_in_the_reopened_run(desk: Desk) -> None:
    desk.admit()
    desk.begin()
    desk.publish(event())
    assert desk.begin(heard=["bank/e-1"]) == []
    desk.publish(event("e-2"))


def test_a_registration_of_an_earlier_wait_takes_no_other_away(desk: Desk) -> None:
    key = key_of_match("paid", {"id": "o-1"})
    old, new = Waiter(NODE, 0), Waiter(NODE, 1)
    desk.waits.register([Registration(key, each, 60.0, 600.0) for each in (old, new)])
    desk.waits.forget([(key, old)])
    assert desk.registered() == {"r1/0/1"}


def test_no_moment_is_left_between_an_event_and_its_node(desk: Desk) -> None:
    """Both at once, many times: each node hears of its event from one side or the other."""
    count = 60
    for number in range(count):
        desk.admit(f"r{number}", f"o-{number}")
    ready: list[list[str]] = [[], []]
    gate = threading.Barrier(2)

    def publish() -> None:
        gate.wait()
        for number in range(count):
            ready[0] += desk.publish(event(f"e-{number}", f"o-{number}"))[0]

    def begin() -> None:
        gate.wait()
        for number in range(count):
            place = place_of(PAID, {"id": f"o-{number}"}, NodeKey(f"r{number}", 0), 0)
            begun = Begun(PLAN, PAID, place, f"r{number}", 60.0)
            [arrived] = desk.delivery.begin([begun])
            ready[1].extend(each.run_id for each in arrived.ready)

    threads = [threading.Thread(target=each) for each in (publish, begin)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    heard = [number for number in range(count) if 0 in desk.bench.record(f"r{number}").signals]
    assert heard == list(range(count))


# What the scripts keep to, by themselves.

KEY = "k" * 32


def kept(desk: Desk, *names: str, seconds: float = 100.0, key: str = KEY, size: int = 1) -> list[Word]:
    wishes = [Keeping(key, name, name.encode() * size, seconds) for name in names]
    return [answer.word for answer in desk.waits.keep(wishes)]


def found(desk: Desk, keep_seconds: float = 1e6, key: str = KEY, node: str = "r1/0/0") -> Sequence[bytes]:
    [answer] = desk.waits.register([Registration(key, Waiter.parse(node), 50.0, keep_seconds)])
    return answer.events


def test_kept_events_go_when_their_time_is_over(desk: Desk) -> None:
    desk.store.now = "1000.0"
    assert kept(desk, "a") == [Word.KEPT]
    desk.store.now = "1050.0"
    assert kept(desk, "b", "a") == [Word.KEPT, Word.AGAIN]
    assert found(desk) == [b"a", b"b"]
    assert found(desk, keep_seconds=10.0) == [b"b"]
    desk.store.now = "1100.5"
    assert found(desk) == [b"b"]
    assert kept(desk, "c", seconds=0.0) == [Word.NOTHING]
    assert found(desk) == [b"b"]
    desk.store.now = "1200.0"
    assert kept(desk, "a") == [Word.KEPT]
    assert found(desk) == [b"a"]


def test_under_one_key_the_newest_events_are_kept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_waits, "MAX_KEPT", 3)
    desk.store.now = "1000.0"
    for number in range(5):
        desk.store.now = f"100{number}.0"
        kept(desk, f"e{number}")
        kept(desk, "other", key="o" * 32)
    assert found(desk) == [b"e2", b"e3", b"e4"]
    assert found(desk, key="o" * 32) == [b"other"]


def test_a_partition_keeps_so_many_bytes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_waits, "MAX_KEPT_BYTES", 4000)
    for number in range(6):
        desk.store.now = f"100{number}.0"
        assert kept(desk, f"e{number}", size=500) == [Word.KEPT]
    events = found(desk)
    assert [each[:2] for each in events] == [b"e3", b"e4", b"e5"]
    assert kept(desk, "large", size=1000) == [Word.FULL]
    assert found(desk) == events
    partition = desk.bench.keys.partition_of(KEY)
    [size] = desk.bench.link.exchange([Command(partition.kept_events, "HGET", partition.kept_events, "bytes")])
    assert sum(map(len, events)) <= int(size) <= 4000


def test_registrations_lapse(desk: Desk) -> None:
    desk.store.now = "1000.0"
    found(desk, node="r1/0/0")
    desk.store.now = "1030.0"
    found(desk, node="r2/0/0")
    [answer] = desk.waits.keep([Keeping(KEY, "a", b"a", 10.0)])
    assert [each.node.run_id for each in answer.waiters] == ["r1", "r2"]
    desk.store.now = "1060.0"
    [answer] = desk.waits.keep([Keeping(KEY, "a", b"a", 10.0)])
    assert [each.node.run_id for each in answer.waiters] == ["r2"]


def test_under_one_key_so_many_nodes_wait(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_waits, "MAX_WAITING", 2)
    registrations = [Registration(KEY, Waiter(NodeKey(f"r{number}", 0), 0), 50.0, 0.0) for number in range(3)]
    assert [each.word for each in desk.waits.register(registrations)] == [Word.KEPT, Word.KEPT, Word.FULL]
    # Who waits already may say so again.
    assert [each.word for each in desk.waits.register(registrations)] == [Word.KEPT, Word.KEPT, Word.FULL]
    desk.waits.forget([(KEY, registrations[0].waiter)])
    assert [each.word for each in desk.waits.register(registrations[1:])] == [Word.KEPT, Word.KEPT]


def test_for_one_type_there_are_so_many_ways_to_wait(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_waits, "MAX_AWAITED", 2)
    ways = [Awaited("paid", (path,), 10.0) for path in ("a", "b", "c")]
    desk.store.now = "1000.0"
    assert desk.waits.note(ways) == [Word.KEPT, Word.KEPT, Word.FULL]
    assert desk.waits.note([*ways, Awaited("sent", ("a",), 5.0)]) == [Word.KEPT, Word.KEPT, Word.FULL, Word.KEPT]
    asked = desk.waits.awaited(["paid", "sent", "none"])
    assert asked.answers(desk.store.link.exchange(asked.commands)) == [ways[:2], [Awaited("sent", ("a",), 5.0)], []]
    desk.store.now = f"{1000.0 + event_waits.NOTED_SECONDS + 1}"
    assert desk.waits.note(ways[2:]) == [Word.KEPT]
    assert asked.answers(desk.store.link.exchange(asked.commands))[0] == ways[2:]


@pytest.mark.parametrize("is_fork", [False, True])
def test_what_the_nodes_of_a_run_wait_for_is_noted_before_it_is_there(desk: Desk, is_fork: bool) -> None:
    """So no event can come between."""
    entrance = Entrance(PLAN, "r1", b"digest", header_of(PLAN), pack({"id": "o-1"}), "r1")
    if is_fork:
        fork = Fork("fork", pack(["r0", [], [], "", ""]), pack([b"", 0.0]))
        desk.bench.controls.fork_run(admission_of(entrance), fork, Who("me"), with_flow=True)
    else:
        desk.bench.advancer.admit([entrance])
    asked = desk.waits.awaited(["paid"])
    assert asked.answers(desk.store.link.exchange(asked.commands)) == [[Awaited("paid", ("id",), 600.0)]]
    assert desk.bench.record().flow_hash == PLAN.hash


CALLS: dict[str, Callable[[Desk], Sequence[Word]]] = {
    "note": lambda desk: desk.waits.note([Awaited("paid", ("b",), 1.0)]),
    "keep": lambda desk: kept(desk, "new"),
    "keep, with too many": lambda desk: kept(desk, *(f"new{number}" for number in range(event_waits.MAX_KEPT + 1))),
    "register": lambda desk: [
        each.word for each in desk.waits.register([Registration(KEY, Waiter(NodeKey("r9", 0), 0), 50.0, 1.0)])
    ],
}
KEYS: dict[str, Callable[[Desk], str]] = {
    "awaited": lambda desk: desk.bench.keys.awaited("paid"),
    "kept": lambda desk: desk.bench.keys.partition_of(KEY).kept_events,
    "until": lambda desk: desk.bench.keys.partition_of(KEY).kept_until,
    "by key": lambda desk: desk.bench.keys.partition_of(KEY).kept_by_key,
    "awaiting": lambda desk: desk.bench.keys.partition_of(KEY).awaiting(KEY),
}


@pytest.mark.parametrize("key_name", KEYS)
@pytest.mark.parametrize("call_name", CALLS)
def test_a_call_that_meets_a_key_of_another_type_has_written_nothing(
    redis_url: str, client: redis.Redis, namespace: str, call_name: str, key_name: str
) -> None:
    desk = Desk(redis_url, namespace)
    desk.waits.note([Awaited("paid", ("a",), 1.0)])
    kept(desk, "one", "two")
    found(desk)
    key = KEYS[key_name](desk)
    client.delete(key)
    client.set(key, "of another type")
    before = {each: client.dump(each) for each in client.scan_iter(match=f"{namespace}:*")}
    if Word.BROKEN in CALLS[call_name](desk):
        assert {each: client.dump(each) for each in client.scan_iter(match=f"{namespace}:*")} == before
    assert client.get(key) == b"of another type"
    desk.bench.link.close()


def test_what_another_version_has_noted_is_passed_over(desk: Desk) -> None:
    key = desk.bench.keys.awaited("paid")
    desk.bench.link.exchange([Command(key, "ZADD", key, 1e12, member) for member in (b"\xc1", pack(["paid"]), pack(5))])
    desk.admit()
    desk.begin()
    assert desk.publish(event()) == [["r1"]]


@pytest.mark.parametrize("part", ["kept", "awaited", "awaiting"])
def test_damage_under_one_key_is_told_and_stops_nobody_else(
    redis_url: str, client: redis.Redis, namespace: str, part: str
) -> None:
    desk = Desk(redis_url, namespace)
    desk.admit()
    key = key_of_match("paid", {"id": "o-1"})
    keys = desk.bench.keys.partition_of(key)
    name = {"kept": keys.kept_by_key, "awaited": desk.bench.keys.awaited("paid"), "awaiting": keys.awaiting(key)}[part]
    client.delete(name)
    client.set(name, "of another type")
    place = place_of(PAID, {"id": "o-1"}, NODE, 0)
    [arrived] = desk.delivery.begin([Begun(PLAN, PAID, place, "r1", 60.0)])
    assert arrived.refusals == ["what the store holds for nodes that wait for events 'paid' is damaged"]
    [damaged, other] = desk.runs.admit([event(), event("e-2", type_="sent")])
    assert damaged.refusals == ([] if part == "awaited" else arrived.refusals)
    assert other.refusals == []
    desk.waits.forget([place])
    desk.bench.link.close()
