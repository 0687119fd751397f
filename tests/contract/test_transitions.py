"""Every script, met with a node in every state, does what the transition table says and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from taskmesh.dispatch.plan import Plan
from taskmesh.model.flow import Flow, Node
from taskmesh.model.states import TRANSITIONS, NodeState
from taskmesh.store.calls import Beat, Marking, NodeKey, Settlement, Spreading, Word
from taskmesh.store.link import Command
from taskmesh.store.preparations import Inheritance, Reset
from tests.contract.store_bench import ME, OTHER, Bench

NODE, PARENT = 1, 0


@pytest.fixture
def bench(redis_url: str, namespace: str) -> Iterator[Bench]:
    bench = Bench(redis_url, namespace)
    yield bench
    bench.link.close()


@pytest.fixture
def plan() -> Plan:
    """A node that needs one other; a bystander keeps the run from ending."""
    return Plan.of(
        Flow("flow", "1", (Node("parent", "t"), Node("node", "t", needs=("parent",)), Node("bystander", "t")))
    )


def _state(bench: Bench) -> NodeState:
    record = bench.record().nodes.get(NODE)
    return record.state if record else NodeState.WAITING


def _token(bench: Bench) -> int:
    record = bench.record().nodes.get(NODE)
    return record.token if record else 1


def _bring_to(bench: Bench, plan: Plan, state: NodeState) -> None:
    """From nothing to ``state``, by the events of a normal life; a running node is OTHER's."""
    bench.admit(plan)
    if state is NodeState.WAITING:
        return
    ends = {NodeState.UPSTREAM_FAILED: "failed", NodeState.SKIPPED: "skipped"}
    bench.run_through(plan, PARENT, ends.get(state, "succeeded"))
    if state not in (NodeState.READY, *ends):
        token = bench.claim(plan, NODE, OTHER).token
        if state is NodeState.RETRYING:
            bench.retry(plan, NODE, token, holder=OTHER)
        elif state is not NodeState.RUNNING:
            bench.settle(plan, NODE, token, state, OTHER)
    assert _state(bench) is state


def _settle(state: str) -> Callable[[Bench, Plan], object]:
    return lambda bench, plan: bench.settle(plan, NODE, _token(bench), state, OTHER)


def _tell(parent_state: str) -> Callable[[Bench, Plan], object]:
    def tell(bench: Bench, plan: Plan) -> None:
        # As the script that ends the parent does; for a parent that has ended, as one that goes on telling.
        chunk = plan.chunks(PARENT)[0]
        answer = bench.claim(plan, PARENT)
        token = answer.token or 2
        key = NodeKey("r1", PARENT)
        settlement = Settlement(
            key, token, parent_state, b"", b"", "", plan.hash, "default", plan.pools, chunk.packed, chunk.last
        )
        bench.store.settle_nodes([settlement], ME)
        bench.store.spread_nodes([Spreading(key, 0, plan.hash, "default", plan.pools, chunk.packed, chunk.last)])

    return tell


def _from_dead(event: Callable[[Bench, Plan], object]) -> Callable[[Bench, Plan], object]:
    def happen(bench: Bench, plan: Plan) -> None:
        bench.housekeeping.end_holder(OTHER)
        event(bench, plan)

    return happen


def _claim(bench: Bench, plan: Plan) -> object:
    return bench.claim(plan, NODE, ME)


def _redrive(bench: Bench, plan: Plan) -> object:
    return bench.redrive(NODE)


def _mark(state: str) -> Callable[[Bench, Plan], object]:
    def mark(bench: Bench, plan: Plan) -> object:
        chunk = plan.chunks(NODE)[0]
        key = NodeKey("r1", NODE)
        marking = Marking(key, state, b"", "by me", plan.hash, "default", plan.pools, chunk.packed, chunk.last)
        return bench.controls.mark_nodes([marking])

    return mark


def _reset(wanted: str) -> Callable[[Bench, Plan], object]:
    def reset(bench: Bench, plan: Plan) -> None:
        # An end that leaves every node as it is.
        bench.controls.terminate_runs([("r1", plan.hash)])
        assert bench.controls.reopen_run("r1", plan.hash, "retry").word is Word.REOPENED
        record = bench.record().nodes.get(NODE)
        seen = (str(record.state), record.token) if record else ("", 0)
        wish = Reset(NODE, *seen, wanted, -1, -1, 0)
        assert bench.controls.reset_nodes("r1", "retry", plan.pools, [wish]).word is Word.RESET
        bench.controls.resume_runs([("r1", plan.hash)], "retry")

    return reset


def _inherit(bench: Bench, plan: Plan) -> None:
    # Whatever a run is prepared for, the script asks only whether it is that.
    bench.controls.terminate_runs([("r1", plan.hash)])
    assert bench.controls.reopen_run("r1", plan.hash, "retry").word is Word.REOPENED
    assert bench.controls.inherit_nodes("r1", "retry", [Inheritance(NODE, b"")]).word is Word.INHERITED
    bench.controls.resume_runs([("r1", plan.hash)], "retry")


EVENTS: dict[str, Callable[[Bench, Plan], object]] = {
    "tell_success": _tell("succeeded"),
    "tell_failure": _tell("failed"),
    "tell_skip": _tell("skipped"),
    "claim": _claim,
    "claim_from_dead": _from_dead(_claim),
    "release": lambda bench, plan: bench.release(NODE, _token(bench), holder=OTHER),
    "beat": lambda bench, plan: bench.store.beat_nodes([Beat(NodeKey("r1", NODE), _token(bench), b"half")], OTHER),
    "redrive": _redrive,
    "redrive_from_dead": _from_dead(_redrive),
    "retry": lambda bench, plan: bench.retry(plan, NODE, _token(bench), holder=OTHER),
    "wake": lambda bench, plan: bench.wake(NODE),
    "signal": lambda bench, plan: bench.signal(NODE),
    "mark_succeeded": _mark("succeeded"),
    "mark_skipped": _mark("skipped"),
    "reset_ready": _reset("ready"),
    "reset_waiting": _reset("waiting"),
    "reset_skipped": _reset("skipped"),
    "inherit": _inherit,
    "settle_succeeded": _settle("succeeded"),
    "settle_failed": _settle("failed"),
    "settle_cancelled": _settle("cancelled"),
    "settle_skipped": _settle("skipped"),
}


def test_every_event_of_the_table_is_tried() -> None:
    assert EVENTS.keys() == TRANSITIONS.keys()


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", NodeState)
def test_a_script_keeps_to_the_table(bench: Bench, plan: Plan, state: NodeState, event: str) -> None:
    _bring_to(bench, plan, state)
    EVENTS[event](bench, plan)
    assert _state(bench) is TRANSITIONS[event].get(state, state)


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", NodeState)
def test_an_event_that_is_repeated_changes_nothing_more(bench: Bench, plan: Plan, state: NodeState, event: str) -> None:
    _bring_to(bench, plan, state)
    EVENTS[event](bench, plan)
    once, remaining = _state(bench), bench.record().summary.remaining
    EVENTS[event](bench, plan)
    assert bench.record().summary.remaining == remaining
    assert _state(bench) is TRANSITIONS[event].get(once, once)


STRANGERS: dict[str, Callable[[Bench, Plan], object]] = {
    "release": lambda bench, plan: bench.release(NODE, _token(bench)),
    "beat": lambda bench, plan: bench.store.beat_nodes([Beat(NodeKey("r1", NODE), _token(bench), b"half")], ME),
    "retry": lambda bench, plan: bench.retry(plan, NODE, _token(bench)),
    "settle_succeeded": lambda bench, plan: bench.settle(plan, NODE, _token(bench)),
    "settle_failed": lambda bench, plan: bench.settle(plan, NODE, _token(bench), "failed"),
    "settle_cancelled": lambda bench, plan: bench.settle(plan, NODE, _token(bench), "cancelled"),
}
"""What a holder says of its own nodes, said by one that was not given the node."""


def _stored(bench: Bench) -> dict[bytes, bytes]:
    key = bench.keys.run("r1")
    [flat] = bench.link.exchange([Command(key, "HGETALL", key)])
    return flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))


@pytest.mark.parametrize("event", STRANGERS)
@pytest.mark.parametrize("state", NodeState)
def test_nobody_but_its_holder_speaks_for_a_node(bench: Bench, plan: Plan, state: NodeState, event: str) -> None:
    _bring_to(bench, plan, state)
    before = _stored(bench)
    STRANGERS[event](bench, plan)
    assert _stored(bench) == before
