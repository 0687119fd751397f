"""Every script, met with an undo in every state, does what the transition table says and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from taskmesh.dispatch.plan import BEFORE_UNDOS, Plan
from taskmesh.model.flow import Compensation, Flow, Node, OnFailure
from taskmesh.model.states import UNDO_TRANSITIONS, NodeState, RunState
from taskmesh.store.calls import Beat, Controlled, NodeKey
from taskmesh.store.controls import Controls
from tests.contract.store_bench import ME, OTHER, Bench

FIRST, SECOND, FAILING = 0, 1, 2
UNDO, EARLIER = 3, 4
"""The undo of the first node comes after that of the second, which needs the first."""


@pytest.fixture
def bench(redis_url: str, namespace: str) -> Iterator[Bench]:
    bench = Bench(redis_url, namespace)
    yield bench
    bench.link.close()


def _plan(*, can_undo: bool = True) -> Plan:
    undo = Compensation("u")
    nodes = (
        Node("first", "t", compensation=undo if can_undo else None),
        Node("second", "t", needs=("first",), compensation=undo),
        Node("failing", "t"),
    )
    return Plan.of(Flow("flow", "1", nodes, on_failure=OnFailure.COMPENSATE))


def _fail(bench: Bench, plan: Plan) -> None:
    bench.admit(plan)
    bench.run_through(plan, FIRST)
    bench.run_through(plan, SECOND)
    bench.run_through(plan, FAILING, "failed", halt="failed")
    assert bench.record().summary.status is RunState.COMPENSATING


def _state(bench: Bench) -> NodeState:
    record = bench.record().nodes.get(UNDO)
    return record.state if record else NodeState.WAITING


def _token(bench: Bench) -> int:
    record = bench.record().nodes.get(UNDO)
    return record.token if record else 1


def _bring_to(bench: Bench, plan: Plan, state: NodeState) -> None:
    """From nothing to ``state``, by the events of a normal life; a running undo is OTHER's."""
    _fail(bench, plan)
    if state is NodeState.WAITING:
        return
    bench.run_through(plan, EARLIER, "failed" if state is NodeState.SKIPPED else "succeeded")
    if state not in (NodeState.READY, NodeState.SKIPPED):
        token = bench.claim(plan, UNDO, OTHER).token
        if state is NodeState.RETRYING:
            bench.retry(plan, UNDO, token, holder=OTHER)
        elif state is not NodeState.RUNNING:
            bench.settle(plan, UNDO, token, state, OTHER)
    assert _state(bench) is state


def _settle(state: str) -> Callable[[Bench, Plan], object]:
    return lambda bench, plan: bench.settle(plan, UNDO, _token(bench), state, OTHER)


def _tell(earlier_state: str) -> Callable[[Bench, Plan], object]:
    def tell(bench: Bench, plan: Plan) -> None:
        answer = bench.claim(plan, EARLIER)
        bench.settle(plan, EARLIER, answer.token or 2, earlier_state)
        bench.advancer.resume(plan, NodeKey("r1", EARLIER), "r1")

    return tell


def _from_dead(event: Callable[[Bench, Plan], object]) -> Callable[[Bench, Plan], object]:
    def happen(bench: Bench, plan: Plan) -> None:
        bench.housekeeping.end_holder(OTHER)
        event(bench, plan)

    return happen


def _begin(bench: Bench, plan: Plan) -> Controlled:
    [answer] = Controls(bench.store).compensate_runs([("r1", plan.hash, plan.pools[0])])
    return answer


def _compensate(bench: Bench, plan: Plan) -> None:
    """Undoing is begun again, and whatever failed before this undo succeeds then."""
    _begin(bench, plan)
    bench.advancer.resume(plan, NodeKey("r1", BEFORE_UNDOS), "r1")
    if _state(bench) is NodeState.SKIPPED:
        bench.run_through(plan, EARLIER)


EVENTS: dict[str, Callable[[Bench, Plan], object]] = {
    "tell_success": _tell("succeeded"),
    "tell_nothing": _tell("succeeded"),
    "tell_failure": _tell("failed"),
    "claim": lambda bench, plan: bench.claim(plan, UNDO, ME),
    "claim_from_dead": _from_dead(lambda bench, plan: bench.claim(plan, UNDO, ME)),
    "release": lambda bench, plan: bench.release(UNDO, _token(bench), holder=OTHER),
    "beat": lambda bench, plan: bench.store.beat_nodes([Beat(NodeKey("r1", UNDO), _token(bench), b"half")], OTHER),
    "redrive": lambda bench, plan: bench.redrive(UNDO),
    "redrive_from_dead": _from_dead(lambda bench, plan: bench.redrive(UNDO)),
    "retry": lambda bench, plan: bench.retry(plan, UNDO, _token(bench), holder=OTHER),
    "wake": lambda bench, plan: bench.wake(UNDO),
    "settle_succeeded": _settle("succeeded"),
    "settle_failed": _settle("failed"),
    "settle_cancelled": _settle("cancelled"),
    "compensate": _compensate,
}
STATES = [state for state in NodeState if state not in (NodeState.CANCELLED, NodeState.UPSTREAM_FAILED)]
"""An undo is never cancelled, whatever its run was halted for, and is skipped where one before it failed."""


def test_every_event_of_the_table_is_tried() -> None:
    assert EVENTS.keys() == UNDO_TRANSITIONS.keys()


@pytest.mark.parametrize("event", [event for event in EVENTS if event != "tell_nothing"])
@pytest.mark.parametrize("state", STATES)
def test_a_script_keeps_to_the_table(bench: Bench, state: NodeState, event: str) -> None:
    plan = _plan()
    _bring_to(bench, plan, state)
    EVENTS[event](bench, plan)
    assert _state(bench) is UNDO_TRANSITIONS[event].get(state, state)


@pytest.mark.parametrize("event", [event for event in EVENTS if event != "tell_nothing"])
@pytest.mark.parametrize("state", STATES)
def test_an_event_that_is_repeated_changes_nothing_more(bench: Bench, state: NodeState, event: str) -> None:
    plan = _plan()
    _bring_to(bench, plan, state)
    EVENTS[event](bench, plan)
    once, remaining = _state(bench), bench.record().summary.remaining
    EVENTS[event](bench, plan)
    assert bench.record().summary.remaining == remaining
    assert _state(bench) is UNDO_TRANSITIONS[event].get(once, once)


def test_where_there_is_nothing_to_undo_an_undo_is_skipped_and_lets_others_pass(bench: Bench) -> None:
    plan = _plan(can_undo=False)
    _fail(bench, plan)
    EVENTS["tell_nothing"](bench, plan)
    record = bench.record()
    assert record.nodes[UNDO].state is UNDO_TRANSITIONS["tell_nothing"][NodeState.WAITING]
    assert record.nodes[UNDO].passes
    assert record.summary.status is RunState.COMPENSATED


def test_an_undo_is_claimed_as_if_its_run_were_not_halted(bench: Bench) -> None:
    plan = _plan()
    _fail(bench, plan)
    assert bench.record().summary.halt == "failed"
    assert bench.claim(plan, EARLIER).halt == ""


def test_a_retry_of_an_undo_waits_though_its_run_is_halted(bench: Bench) -> None:
    plan = _plan()
    _fail(bench, plan)
    bench.retry(plan, EARLIER, bench.claim(plan, EARLIER).token, delay_seconds=60.0)
    assert bench.wake(EARLIER).word == "early"


@pytest.mark.parametrize("kind", ["failed", "cancelled"])
def test_what_an_ended_run_did_can_be_undone_later(bench: Bench, kind: str) -> None:
    plan = _plan()
    bench.admit(plan)
    bench.run_through(plan, FIRST)
    Controls(bench.store).halt_runs(["r1"], kind)
    for node in (SECOND, FAILING):
        bench.run_through(plan, node, "cancelled")
    assert bench.record().summary.status == kind
    assert _begin(bench, plan) == ("compensating", "")
    ready = bench.advancer.resume(plan, NodeKey("r1", BEFORE_UNDOS), "r1").ready
    assert [each.node for each in ready] == [UNDO]
    assert bench.run_through(plan, UNDO).run_status == "compensated"
    assert _begin(bench, plan) == ("ended", "compensated")


def test_a_run_that_has_done_nothing_ends_at_once(bench: Bench) -> None:
    plan = _plan()
    bench.admit(plan)
    bench.run_through(plan, FIRST, "failed", halt="failed")
    assert bench.run_through(plan, FAILING, "cancelled").run_status == "failed"
    assert _begin(bench, plan) == ("nothing", "")
    assert bench.outbox() == set()
