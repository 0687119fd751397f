"""The engine lets nodes wait for events: whatever call of the store is lost, each has its event once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from taskmesh.dispatch.dispatcher import outgoing
from taskmesh.dispatch.events.runs import EventRuns
from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.plans import Plans
from taskmesh.model.events.on_event import InboundEvent
from taskmesh.model.events.waits import EventWait, key_of_match
from taskmesh.model.flow import Flow, Node, Param
from taskmesh.model.subflows import Subflow
from taskmesh.model.validation import complete
from taskmesh.model.waiting import Default
from taskmesh.store.events import waits as event_waits
from taskmesh.store.link import Command
from taskmesh.wire import unpack
from taskmesh.worker.engine import intake, waiting
from tests.unit.engine_bench import EngineBench

Test = Callable[[EngineBench], Awaitable[None]]
Play = Callable[[Test], None]


def plan_with(step: EventWait, *others: Node) -> Plan:
    node = Node("paid", "", {"id": "${params.id}"}, step=step)
    return Plan.of(complete(Flow("order", "1", (node, *others), params=(Param("id", required=False),))))


PLAN = plan_with(EventWait(event="paid"), Node("ship", "t", {"x": "${nodes.paid.output}"}))


class Bank:
    """Publishes events straight to the store, over a link that nothing is lost on."""

    def __init__(self, bench: EngineBench) -> None:
        self._bench = bench
        self._runs = EventRuns(bench.side.store, Plans(bench.side.reader.flow_body), 10_000)

    def pay(self, number: int = 1, id_: Any = "o-1") -> None:
        [arrival] = self._runs.admit([InboundEvent("paid", f"p-{number}", "", {"id": id_, "number": number})])
        for ready in arrival.ready:
            self._bench.broker.deliver(outgoing(ready).body)


def begin(bench: EngineBench, plan: Plan = PLAN, run_id: str = "r1", id_: Any = "o-1") -> None:
    for ready in bench.side.admit(plan, run_id, {"id": id_}).ready:
        bench.broker.deliver(outgoing(ready).body)


def state(bench: EngineBench, node: int = 0, run_id: str = "r1") -> str:
    record = bench.side.record(run_id).nodes.get(node)
    return str(record.state) if record else ""


def registered(bench: EngineBench, id_: str = "o-1") -> list[bytes]:
    key = key_of_match("paid", {"id": id_})
    name = bench.keys.partition_of(key).awaiting(key)
    [members] = bench.side.link.exchange([Command(name, "ZRANGE", name, 0, -1)])
    return list(members)


def said(bench: EngineBench) -> str:
    error = unpack(bench.side.record().errors[0])
    return f"{error['type']}: {error['message']}"


@pytest.mark.parametrize("phase", ["request", "reply"])
@pytest.mark.parametrize("is_early", [False, True])
def test_any_lost_call_delays_and_changes_nothing(valkey_url: str, namespace: str, phase: str, is_early: bool) -> None:
    async def play_with(number: int) -> int:
        bench = EngineBench(valkey_url, f"{namespace}.{number}")
        bench.link.lost = {(number, phase)}
        bank = Bank(bench)
        try:
            begin(bench, run_id="other", id_="o-2")
            if is_early:
                bank.pay()
            begin(bench)
            await bench.until(lambda: bench.is_idle and (is_early or state(bench) == "retrying"))
            if not is_early:
                assert registered(bench) == [b"r1/0/0"]
                bank.pay()
            await bench.until(lambda: bench.is_idle and bench.status() == "succeeded")
            assert unpack(bench.side.record().outputs[0]) == {"id": "o-1", "number": 1}
            assert (bench.side.record().nodes[0].attempt, bench.pool.times) == (1, {("r1", "ship"): 1})
            assert (registered(bench), registered(bench, "o-2")) == ([], [b"other/0/0"])
            return bench.link.calls
        finally:
            bench.close()

    calls = asyncio.run(play_with(0))
    for number in range(1, calls + 1):
        asyncio.run(play_with(number))


@pytest.mark.parametrize("phase", ["request", "reply"])
def test_what_is_claimed_with_it_may_fail_to_be_read(
    valkey_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    """What was gathered in a turn that broke off is gathered anew, and not twice: children, too."""
    monkeypatch.setattr(intake, "FIELDS_PER_CLAIM", 1)
    inner = Flow("inner", "1", (Node("only", "t"),))
    child = Node("child", "", step=Subflow(inline=inner))
    wide = Node("wide", "t", {"x": "${params.id}", "y": "${run.request_id}"})
    plan = plan_with(EventWait(event="paid"), child, wide)

    async def play_with(number: int) -> int:
        bench = EngineBench(valkey_url, f"{namespace}.{number}")
        bench.link.lost = {(number, phase)}
        try:
            Bank(bench).pay()
            begin(bench, plan)
            Bank(bench).pay(2)
            # That its child has ended, the keeper may have to tell the parent.
            await bench.until(lambda: bench.is_idle and bench.pool.times.total() == 2)
            assert [state(bench, plan.graph.index[name]) for name in ("paid", "wide")] == ["succeeded"] * 2
            assert set(bench.pool.times.values()) == {1}
            return bench.link.calls
        finally:
            bench.close()

    calls = asyncio.run(play_with(0))
    for number in range(1, calls + 1):
        asyncio.run(play_with(number))


@pytest.mark.parametrize("step", [EventWait(event="paid"), EventWait(event="paid", timeout_seconds=0.0001)])
def test_an_event_that_comes_when_its_node_is_claimed_is_heard(
    play: Play, monkeypatch: pytest.MonkeyPatch, step: EventWait
) -> None:
    """Between the claim and the registration, also where the time of the node is over by then."""
    plan = plan_with(step)

    async def test(bench: EngineBench) -> None:
        begin(bench, plan_with(EventWait(event="paid"), Node("other", "t")), "other", "o-2")
        await bench.until(lambda: state(bench, run_id="other") == "retrying")
        endings: list[Any] = []
        original = waiting.waiting_ending

        def late(*arguments: Any) -> Any:
            if not endings:
                Bank(bench).pay()
            endings.append(original(*arguments))
            return endings[-1]

        monkeypatch.setattr("taskmesh.worker.engine.event_waits.waiting_ending", late)
        begin(bench, plan)
        await bench.until(lambda: bench.is_idle and bench.status() != "running")
        assert [each.state for each in endings] == [
            "retrying" if step.timeout_seconds is None else "failed",
            "succeeded",
        ]
        assert bench.status() == "succeeded"
        assert registered(bench) == []

    play(test)


def test_a_node_whose_time_is_over_is_found_no_more(play: Play) -> None:
    async def test(bench: EngineBench) -> None:
        begin(bench, plan_with(EventWait(event="paid", timeout_seconds=0.05, default=Default("none"))))
        await bench.until(lambda: bench.is_idle and bench.status() == "succeeded")
        assert unpack(bench.side.record().outputs[0]) == "none"
        assert registered(bench) == []

    play(test)


@pytest.mark.parametrize(
    ("limit", "sentence"),
    [
        ("MAX_WAITING", "1000 nodes wait for an event 'paid' with the same values already; no more can"),
        ("MAX_AWAITED", "nodes wait for events 'paid' in 50 different ways already"),
    ],
)
def test_where_there_is_no_room_a_node_fails_and_says_so(
    play: Play, monkeypatch: pytest.MonkeyPatch, limit: str, sentence: str
) -> None:
    monkeypatch.setattr(event_waits, limit, 0)

    async def test(bench: EngineBench) -> None:
        begin(bench)
        await bench.until(lambda: bench.is_idle and bench.status() == "failed")
        assert said(bench).startswith(f"CannotWait: {sentence}")

    play(test)


def test_what_nothing_can_equal_fails_its_node_alone(play: Play) -> None:
    async def test(bench: EngineBench) -> None:
        begin(bench, id_=None)
        begin(bench, run_id="good")
        await bench.until(lambda: bench.is_idle and bench.status() == "failed")
        assert said(bench).startswith("EventError: what is matched with 'id' must be a text")
        Bank(bench).pay()
        await bench.until(lambda: bench.is_idle and bench.status("good") == "succeeded")

    play(test)


def test_a_node_that_waits_registers_anew_before_that_lapses(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LONGEST_EVENT_PARK_SECONDS", 0.02)

    async def test(bench: EngineBench) -> None:
        begin(bench)
        await bench.until(lambda: registered(bench) != [])
        # As after a failover of the partition in which it stood.
        key = key_of_match("paid", {"id": "o-1"})
        name = bench.keys.partition_of(key).awaiting(key)
        bench.side.link.exchange([Command(name, "DEL", name)])
        await bench.until(lambda: registered(bench) != [])
        Bank(bench).pay()
        await bench.until(lambda: bench.status() == "succeeded")

    play(test)
