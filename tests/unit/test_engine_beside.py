"""What the engine decides over values that were put aside, beside its loop; and what it tells parents of such ones."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from taskmesh.client.details import NodeDetails, run_details
from taskmesh.dispatch.dispatcher import outgoing
from taskmesh.dispatch.plan import TO_PARENT, Plan
from taskmesh.errors import PayloadUnavailableError, StoreUnavailableError
from taskmesh.model.flow import Flow, Node, Param
from taskmesh.model.mapping import Map, mapped
from taskmesh.model.policies import RetryPolicy, Wait
from taskmesh.model.states import NodeState
from taskmesh.model.subflows import Subflow
from taskmesh.model.validation import complete
from taskmesh.model.waiting import Sleep
from taskmesh.payload.payloads import Payloads
from taskmesh.store.calls import NodeKey
from taskmesh.store.expected_runs import ExpectedRuns
from taskmesh.wire import pack
from taskmesh.wire.claim_checks import is_parted
from taskmesh.wire.messages import NodeMessage, encode_message
from taskmesh.worker.channels.protocol import Outcome
from tests.harness.large_values import place_at
from tests.unit.conftest import Play
from tests.unit.engine_bench import EngineBench

PATIENCE_SECONDS = 30.0
LARGE = {"n": 2, "wait": 0.01, "rows": [1, 2, 3], "text": "x" * 2000}
INNER = Flow("inner", "1", (Node("x", "t", {"x": "${params.x}"}),), params=(Param("x"),))
TRIED_AGAIN = RetryPolicy(max_attempts=3, wait=Wait.FIXED, base_seconds=0.01)


@pytest.fixture
def place(tmp_path: Path) -> Payloads:
    return place_at(tmp_path)


def _plan(*nodes: Node) -> Plan:
    return Plan.of(complete(Flow("f", "1", (Node("a", "t"), *nodes), params=(Param("p", required=False),))))


def _begin(bench: EngineBench, place: Payloads, plan: Plan, value: Any = LARGE) -> None:
    """A run whose first node has ended with what was put aside; what follows is delivered."""
    bench.place = place
    bench.submit(plan, deliver=False)
    for ready in bench.side.run_through(plan, 0, output=place.put("r1", pack(value))).ready:
        bench.broker.deliver(outgoing(ready).body)


def _nodes(bench: EngineBench, plan: Plan, run_id: str = "r1") -> dict[str, NodeDetails]:
    return {node.name: node for node in run_details(bench.side.record(run_id), plan).nodes}


async def _end(bench: EngineBench, plan: Plan) -> NodeDetails:
    await bench.until(lambda: bench.is_idle and bench.status() != "running")
    return _nodes(bench, plan)["b"]


def _fail_once(monkeypatch: pytest.MonkeyPatch, target: Any, name: str, error: Exception) -> list[Exception]:
    """Have the first call fail; what is returned is empty after that."""
    call, faults = getattr(target, name), [error]

    def call_at_last(*args: Any) -> Any:
        if faults:
            raise faults.pop()
        return call(*args)

    monkeypatch.setattr(target, name, call_at_last)
    return faults


@pytest.mark.parametrize(("least", "state"), [(1, "succeeded"), (2, "skipped")])
def test_a_condition_over_it_is_decided(play: Play, place: Payloads, least: int, state: str) -> None:
    plan = _plan(Node("b", "t", when=f"nodes.a.output.n > {least}"))

    async def decide(bench: EngineBench) -> None:
        _begin(bench, place, plan)
        assert (await _end(bench, plan)).status == state
        assert bench.pool.times["r1", "b"] == (state == "succeeded")

    play(decide)


def test_a_sleep_is_as_long_as_it_says(play: Play, place: Payloads) -> None:
    plan = _plan(Node("b", "", {"seconds": "${nodes.a.output.wait}"}, step=Sleep()))

    async def sleep(bench: EngineBench) -> None:
        _begin(bench, place, plan)
        node = await _end(bench, plan)
        assert (node.status, node.error) == (NodeState.SUCCEEDED, None)

    play(sleep)


def test_a_condition_before_a_child_run_too(play: Play, place: Payloads) -> None:
    plan = _plan(Node("b", "", {"x": "${nodes.a.output}"}, step=Subflow("", INNER), when="nodes.a.output.n > 2"))

    async def decide(bench: EngineBench) -> None:
        _begin(bench, place, plan)
        assert (await _end(bench, plan)).status == NodeState.SKIPPED

    play(decide)


def test_a_map_over_it_is_staged(play: Play, place: Payloads) -> None:
    body = Node("b", "t", {"x": "${item}", "all": "${nodes.a.output}"})
    plan = Plan.of(complete(Flow("f", "1", (Node("a", "t"), mapped(body, Map(body), "${nodes.a.output.rows}")))))

    async def spread(bench: EngineBench) -> None:
        _begin(bench, place, plan)
        node = await _end(bench, plan)
        assert (node.status, node.output) == (NodeState.SUCCEEDED, ["out"] * 3)
        # What all items are given is the child's own.
        record = bench.side.record(node.child)
        assert is_parted(record.params)
        assert place.contents(node.child)

    play(spread)


def test_what_is_missing_fails_the_node(play: Play, place: Payloads) -> None:
    plan = _plan(Node("b", "t", when="nodes.a.output.n > 1", retry=TRIED_AGAIN))

    async def lose(bench: EngineBench) -> None:
        bench.place = place
        bench.submit(plan, deliver=False)
        stored = place.put("r1", pack(LARGE))
        place.remove("r1", place.contents("r1"))
        [ready] = bench.side.run_through(plan, 0, output=stored).ready
        bench.broker.deliver(outgoing(ready).body)
        node = await _end(bench, plan)
        assert (node.status, node.attempts) == (NodeState.FAILED, 1)
        assert node.error is not None
        assert "a value of run 'r1'" in node.error["message"]

    play(lose)


def test_a_place_that_does_not_answer_is_tried_again_as_the_policy_says(
    play: Play, place: Payloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = _plan(Node("b", "", {"x": "${nodes.a.output}"}, step=Subflow("", INNER), retry=TRIED_AGAIN))
    faults = _fail_once(monkeypatch, place, "copy", PayloadUnavailableError("away"))

    async def wait(bench: EngineBench) -> None:
        _begin(bench, place, plan)
        node = await _end(bench, plan)
        assert (node.status, node.attempts, faults) == (NodeState.SUCCEEDED, 2, [])

    play(wait)


def test_a_store_that_is_away_is_asked_again(play: Play, place: Payloads, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = _plan(Node("b", "", {"x": "${nodes.a.output}"}, step=Subflow("", INNER)))
    faults = _fail_once(monkeypatch, ExpectedRuns, "expect", StoreUnavailableError("away"))

    async def wait(bench: EngineBench) -> None:
        _begin(bench, place, plan)
        node = await _end(bench, plan)
        assert (node.status, node.attempts, faults) == (NodeState.SUCCEEDED, 1, [])

    play(wait)


def test_what_is_found_out_for_an_attempt_that_is_over_is_dropped(
    play: Play, place: Payloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = _plan(Node("b", "t", when="nodes.a.output.n > 2"))
    begun, go_on, get = threading.Event(), threading.Event(), place.get

    def get_later(*args: Any) -> bytes:
        begun.set()
        assert go_on.wait(PATIENCE_SECONDS)
        return get(*args)

    monkeypatch.setattr(place, "get", get_later)

    async def release(bench: EngineBench) -> None:
        _begin(bench, place, plan)
        await bench.until(begun.is_set)
        assert bench.engine.claiming
        bench.engine.stop_taking()
        bench.engine.release_all()
        await bench.until(lambda: bench.engine.unsettled == 0)
        go_on.set()
        await bench.until(lambda: not bench.engine.claiming)
        await bench.turn()
        assert _nodes(bench, plan)["b"].status == NodeState.READY
        assert bench.engine.unsettled == 0

    play(release)


PARENT = Plan.of(complete(Flow("f", "1", (Node("b", "", {"x": 1}, step=Subflow("", INNER)),))))


async def _end_child(bench: EngineBench, place: Payloads) -> str:
    """Begin a run of PARENT, and end its child with what was put aside; the id of that."""
    bench.place = place
    bench.submit(PARENT)
    await bench.until(lambda: len(bench.pool.works) == 1)
    [(id_, work)] = bench.pool.works.items()
    child = work.context[0]
    bench.pool.works.clear()
    bench.engine.on_outcomes([Outcome(id_, place.put(child, pack(LARGE)), None, 0.0, 0.001)])
    return child


def test_a_parent_gets_its_own_of_what_its_child_gave(play_by_hand: Play, place: Payloads) -> None:
    async def tell(bench: EngineBench) -> None:
        child = await _end_child(bench, place)
        await bench.until(lambda: bench.is_idle and bench.status() == "succeeded")
        place.remove(child, place.contents(child))
        stored = bench.side.record().outputs[0]
        assert place.value("r1", stored) == LARGE

    play_by_hand(tell)


def test_a_telling_that_fails_is_left_to_the_keeper(
    play_by_hand: Play, place: Payloads, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _fail_once(monkeypatch, place, "copy", PayloadUnavailableError("away"))

    async def tell(bench: EngineBench) -> None:
        child = await _end_child(bench, place)
        # What comes while the first telling goes on is left to that one.
        await bench.until(lambda: bench.is_idle and "is told later" in caplog.text)
        await bench.turn()
        assert bench.status() == "running"
        assert NodeKey(child, TO_PARENT) in bench.side.outbox()
        # As the keeper publishes it.
        [answer] = bench.side.store.redrive_nodes([(NodeKey(child, TO_PARENT), "default")])
        inner = PARENT.inner_plan(0)
        assert inner is not None
        message = NodeMessage(child, TO_PARENT, answer.attempt, answer.token, inner.hash, child)
        bench.broker.deliver(encode_message(message), redelivered=True)
        await bench.until(lambda: bench.is_idle and bench.status() == "succeeded")
        assert place.value("r1", bench.side.record().outputs[0]) == LARGE

    play_by_hand(tell)
