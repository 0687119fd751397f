"""The keeper ends the children of halted and terminated runs, though no worker serves their pools."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskmesh.dispatch.advance import Ending
from taskmesh.dispatch.children.children import WAITS, Children, Taken
from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.plans import Plans
from taskmesh.model.flow import Compensation, Flow, Node, OnFailure
from taskmesh.model.states import NodeState, RunState
from taskmesh.model.subflows import OnParentClose, Subflow
from taskmesh.store.calls import NodeKey, Word
from taskmesh.store.family import WAITS_FOR_RUN
from tests.contract.store_bench import ME
from tests.unit.test_halts import HaltsBench

INNER = Flow("inner", "1", (Node("x", "t", compensation=Compensation("u")), Node("y", "t", needs=("x",))))
OUTER = Plan.of(
    Flow(
        "outer",
        "1",
        (
            Node("begins", "", step=Subflow(inline=INNER), compensation=Compensation("")),
            Node("b", "t", needs=("begins",)),
        ),
        on_failure=OnFailure.COMPENSATE,
    )
)
LEAVING = Plan.of(
    Flow("leaving", "1", (Node("begins", "", step=Subflow(inline=INNER, on_parent_close=OnParentClose.ABANDON)),))
)


class FamilyHalts(HaltsBench):
    """A parent ``r1`` that waits for its child."""

    def begin(self, plan: Plan = OUTER, waits: bool = True) -> str:
        """Admit the parent and begin its child; the id of that. Without ``waits``, who began it dies then."""
        self.side.admit(plan)
        answer = self.side.claim(plan, 0)
        children = Children(self.side.store, Plans(self.side.reader.flow_body), 1000)
        [verdict], _ = children.take_up([Taken(plan, NodeKey("r1", 0), "r1", answer, answer.fields)])
        assert verdict.state == WAITS
        if waits:
            cause = f"{WAITS_FOR_RUN}{verdict.ticket}"
            ending = Ending(plan, NodeKey("r1", 0), answer.token, "r1", "retrying", delay_seconds=60.0)
            waiting = ending._replace(counts=False, cause=cause, ticket=verdict.ticket)
            assert self.side.advancer.settle([waiting], ME)[0].word is Word.RETRYING
        return verdict.ticket

    def go_on(self) -> None:
        """Look again and again: who has to wait for somebody is looked at again later."""
        for at in (7.0, 10.0, 13.0):
            self.looks(at)

    @property
    def inner(self) -> Plan:
        plan = OUTER.inner_plan(0)
        assert plan is not None
        return plan


@pytest.fixture
def bench(redis_url: str, namespace: str) -> Iterator[FamilyHalts]:
    made = FamilyHalts(redis_url, namespace)
    yield made
    made.side.link.close()


@pytest.mark.parametrize("status", [RunState.CANCELLED, RunState.FAILED])
def test_children_end_and_then_their_parent(bench: FamilyHalts, status: RunState) -> None:
    child = bench.begin()
    bench.side.halt("r1", status)
    bench.go_on()
    assert (bench.status(child), bench.status()) == (RunState.CANCELLED, status)
    assert bench.states()[0] == NodeState.CANCELLED
    who = bench.side.record(child).summary.halted_by
    assert who is not None
    assert (who.by, who.why) == ("run r1", f"its parent is {status}")


def test_a_parent_waits_until_what_runs_of_its_child_has_ended(bench: FamilyHalts) -> None:
    child = bench.begin()
    answer = bench.side.claim(bench.inner, 0, run_id=child)
    bench.side.halt("r1", RunState.CANCELLED)
    for at in (1.0, 3.0, 5.0):
        bench.look(at)
    assert (bench.status(child), bench.status()) == (RunState.RUNNING, RunState.RUNNING)
    assert bench.side.record(child).summary.halt == RunState.CANCELLED
    bench.side.settle(bench.inner, 0, answer.token, run_id=child)
    bench.go_on()
    assert (bench.status(child), bench.status()) == (RunState.CANCELLED, RunState.CANCELLED)


def test_a_child_is_undone_whose_parent_is(bench: FamilyHalts) -> None:
    child = bench.begin()
    bench.side.run_through(bench.inner, 0, run_id=child)
    bench.side.controls.halt_runs(["r1"], RunState.CANCELLED, compensate=True)
    bench.looks()
    assert (bench.status(child), bench.status()) == (RunState.COMPENSATING, RunState.RUNNING)
    undo = bench.side.claim(bench.inner, 2, run_id=child)
    bench.side.settle(bench.inner, 2, undo.token, run_id=child)
    bench.go_on()
    assert (bench.status(child), bench.status()) == (RunState.COMPENSATED, RunState.CANCELLED)


def test_a_child_that_was_just_begun_is_found(bench: FamilyHalts) -> None:
    """Who began it has died before its parent's node waited for it."""
    child = bench.begin(waits=False)
    bench.side.housekeeping.end_holder(ME)
    bench.side.halt("r1", RunState.CANCELLED)
    bench.look(1.0)
    assert bench.status() is RunState.RUNNING
    bench.go_on()
    assert (bench.status(child), bench.status()) == (RunState.CANCELLED, RunState.CANCELLED)


def test_an_abandoned_child_goes_on_without_its_parent(bench: FamilyHalts) -> None:
    child = bench.begin(LEAVING)
    bench.side.halt("r1", RunState.CANCELLED)
    bench.looks()
    assert (bench.status(child), bench.status()) == (RunState.RUNNING, RunState.CANCELLED)
    assert bench.side.record(child).summary.halt == ""


def test_children_of_a_terminated_run_are_terminated(bench: FamilyHalts) -> None:
    child = bench.begin()
    bench.side.controls.terminate_runs([("r1", OUTER.hash)])
    bench.looks()
    assert (bench.status(child), bench.status()) == (RunState.TERMINATED, RunState.TERMINATED)


def test_an_abandoned_child_of_a_terminated_run_goes_on(bench: FamilyHalts) -> None:
    child = bench.begin(LEAVING)
    bench.side.controls.terminate_runs([("r1", LEAVING.hash)])
    bench.looks()
    assert bench.status(child) is RunState.RUNNING


def test_a_parent_ends_with_what_its_child_had_done_by_then(bench: FamilyHalts) -> None:
    """It has succeeded just before its parent was cancelled: its undo must know."""
    child = bench.begin()
    bench.side.run_through(bench.inner, 0, run_id=child)
    answer = bench.side.claim(bench.inner, 1, run_id=child)
    bench.side.halt("r1", RunState.CANCELLED)
    bench.side.settle(bench.inner, 1, answer.token, run_id=child)
    bench.looks()
    assert (bench.status(child), bench.status()) == (RunState.SUCCEEDED, RunState.CANCELLED)
    assert bench.states()[0] == NodeState.SUCCEEDED
