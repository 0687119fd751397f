"""Child runs on a real store: begun once, told until heard, stopped and undone; whoever dies on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from taskmesh.dispatch.advance import Ending
from taskmesh.dispatch.children.children import CANCELLED, FAILED, SUCCEEDED, WAITS, Children, Taken, Verdict
from taskmesh.dispatch.children.inputs import ChildInputs
from taskmesh.dispatch.children.orphans import Orphans
from taskmesh.dispatch.children.parents import Ended, Parents
from taskmesh.dispatch.dispatcher import Ready
from taskmesh.dispatch.plan import TO_PARENT, Plan
from taskmesh.dispatch.plans import Plans
from taskmesh.model.flow import Compensation, Flow, Node, OnFailure, Param
from taskmesh.model.loops import Loop
from taskmesh.model.states import NodeState, RunState
from taskmesh.model.subflows import OnParentClose, Subflow
from taskmesh.store.calls import Claim, ClaimAnswer, NodeKey, Who, Word
from taskmesh.store.controls import Controls
from taskmesh.store.family import WAITS_FOR_RUN, ticket_of
from taskmesh.store.link import Command
from taskmesh.wire import pack, unpack
from tests.contract.store_bench import ME, OTHER, Bench, plan_of

LIMIT = 1000
INNER = Flow("inner", "1", (Node("x", "t"), Node("y", "t", needs=("x",))))
UNDOABLE = Flow("undoable", "1", (Node("x", "t", compensation=Compensation("u")),))


def _outer(step: Subflow, on_failure: OnFailure = OnFailure.FAIL_FAST) -> Plan:
    undo = Compensation("") if step.inline is UNDOABLE else None
    nodes = Node("begins", "", step=step, compensation=undo), Node("after", "t", needs=("begins",))
    return Plan.of(Flow("outer", "1", nodes, on_failure=on_failure))


OUTER = _outer(Subflow(inline=INNER))


class FamilyBench(Bench):
    """A parent ``r1`` and its children; what workers do, one step at a time."""

    def __init__(self, url: str, namespace: str) -> None:
        super().__init__(url, namespace)
        self.children = self.another()

    def another(self) -> Children:
        """As another process has it."""
        return Children(self.store, Plans(self.reader.flow_body), LIMIT)

    def take(self, plan: Plan, node: int = 0, holder: str = ME, token: int = 1) -> Taken:
        answer = self.claim(plan, node, holder, token=token)
        assert answer.word is Word.CLAIMED
        return Taken(plan, NodeKey("r1", node), "r1", answer, answer.fields)

    def take_up(self, taken: Taken, children: Children | None = None) -> tuple[Verdict, list[Ready]]:
        [verdict], ready = (children or self.children).take_up([taken])
        return verdict, ready

    def wait(self, taken: Taken, ticket: str, holder: str = ME) -> Word:
        cause = f"{WAITS_FOR_RUN}{ticket}"
        ending = Ending(taken.plan, taken.key, taken.answer.token, "r1", "retrying", delay_seconds=60.0)
        ending = ending._replace(counts=False, cause=cause, ticket=ticket)
        return self.advancer.settle([ending], holder)[0].word

    def begin(self, plan: Plan = OUTER) -> str:
        """Admit the parent, and let its node wait for its child; the id of that."""
        self.admit(plan)
        taken = self.take(plan)
        verdict, _ = self.take_up(taken)
        assert (verdict.state, self.wait(taken, verdict.ticket)) == (WAITS, Word.RETRYING)
        return verdict.ticket

    def end(self, plan: Plan, child: str, state: str = "succeeded") -> list[Ready]:
        """Run a child to its end; what became ready by that."""
        ready = [self.run_through(plan, at, state, run_id=child).ready for at in range(len(plan.flow.nodes))]
        return ready[-1]

    def pass_wait(self) -> None:
        """Let the time come at which a node looks by itself."""
        self.store.now = repr(self.housekeeping.time() + 61.0)

    def record_of(self, node: int = 0) -> NodeState:
        return self.record().nodes[node].state

    def status_of(self, run_id: str) -> RunState:
        return self.record(run_id).summary.status


@pytest.fixture
def bench(redis_url: str, namespace: str) -> Iterator[FamilyBench]:
    made = FamilyBench(redis_url, namespace)
    yield made
    made.link.close()


def _inner(plan: Plan = OUTER) -> Plan:
    inner = plan.inner_plan(0)
    assert inner is not None
    return inner


def test_the_end_of_a_child_makes_its_parent_ready_with_its_result(bench: FamilyBench) -> None:
    child = bench.begin()
    [ready] = bench.end(_inner(), child)
    assert (ready.run_id, ready.node) == ("r1", 0)
    assert bench.outbox() == {NodeKey("r1", 0)}
    verdict, _ = bench.take_up(bench.take(OUTER, token=ready.token))
    assert (verdict.state, unpack(verdict.output)) == (SUCCEEDED, "out 1")
    assert bench.record(child).summary.parent is not None
    assert bench.record().nodes[0].attempt == 1


def test_two_who_take_a_node_up_begin_one_child(bench: FamilyBench) -> None:
    bench.admit(OUTER)
    first, begun = bench.take_up(bench.take(OUTER))
    bench.housekeeping.end_holder(ME)
    taken = bench.take(OUTER, holder=OTHER)
    second, again = bench.take_up(taken, bench.another())
    assert (first, {each.run_id for each in begun}) == (second, {each.run_id for each in again})
    assert len(bench.reader.list_runs(closed=False, limit=10)) == 2
    assert bench.wait(taken, second.ticket, OTHER) is Word.RETRYING


def test_a_child_that_ends_before_its_parent_waits_is_heard_of_then(bench: FamilyBench) -> None:
    bench.admit(OUTER)
    taken = bench.take(OUTER)
    verdict, _ = bench.take_up(taken)
    assert bench.end(_inner(), verdict.ticket) == []
    assert bench.wait(taken, verdict.ticket) is Word.TOLD
    renewed = bench.wake(0)
    assert renewed.word is Word.WOKEN
    heard, _ = bench.take_up(bench.take(OUTER, token=renewed.token))
    assert heard.state == SUCCEEDED


def test_whoever_ends_a_child_and_dies_leaves_the_telling_to_the_keeper(bench: FamilyBench) -> None:
    child, inner = bench.begin(), _inner()
    bench.run_through(inner, 0, run_id=child)
    answer = bench.claim(inner, 1, run_id=child)
    ending = Ending(inner, NodeKey(child, 1), answer.token, child, "succeeded", output=pack(7))
    [told] = bench.store.ask(bench.advancer.settling([ending], ME))
    assert told.skipped == (TO_PARENT,)
    assert bench.record_of() is NodeState.RETRYING
    key = NodeKey(child, TO_PARENT)
    assert key in bench.outbox()
    [redriven] = bench.store.redrive_nodes([(key, "default")])
    assert redriven.word is Word.REDRIVE
    [claimed] = bench.store.claim_nodes([Claim(key, redriven.token, ())], ME)
    assert (claimed.word, claimed.spread) == (Word.ENDED, 0)
    # Whoever tells and dies before the child has forgotten it leaves it to the next: once more does no harm.
    tellings = [Parents(bench.store).tell([Ended(child, inner)]) for _ in range(2)]
    [resumed] = bench.advancer.resume(inner, key, child).ready
    assert [ready.token for [ready] in tellings if ready] == [resumed.token] * 2
    assert bench.outbox() == {NodeKey("r1", 0)}


def test_a_node_that_looks_by_itself_finds_the_end_of_its_child(bench: FamilyBench) -> None:
    """Nobody has told it: the store has lost that."""
    child, inner = bench.begin(), _inner()
    bench.run_through(inner, 0, run_id=child)
    answer = bench.claim(inner, 1, run_id=child)
    ending = Ending(inner, NodeKey(child, 1), answer.token, child, "succeeded", output=pack(7))
    bench.store.ask(bench.advancer.settling([ending], ME))
    bench.link.exchange([Command("", "HDEL", bench.keys.run(child), f"node:{TO_PARENT}")])
    bench.pass_wait()
    taken = bench.take(OUTER, token=bench.wake(0).token)
    verdict, _ = bench.take_up(taken)
    assert (verdict.state, bench.wait(taken, verdict.ticket)) == (WAITS, Word.TOLD)
    verdict, _ = bench.take_up(bench.take(OUTER, token=bench.wake(0).token))
    assert (verdict.state, unpack(verdict.output)) == (SUCCEEDED, 7)


def test_a_failed_child_says_why_and_the_next_attempt_begins_another(bench: FamilyBench) -> None:
    child, inner = bench.begin(), _inner()
    error = pack({"type": "ValueError", "message": "no stock", "traceback": ""})
    [ready] = bench.run_through(inner, 0, "failed", run_id=child, error=error, output=b"", halt="failed").ready
    taken = bench.take(OUTER, token=ready.token)
    verdict, _ = bench.take_up(taken)
    assert (verdict.state, verdict.kind, verdict.is_final) == (FAILED, "ChildRunFailed", False)
    assert verdict.message == f"run {child} of flow 'inner' ended as failed: node 'x': ValueError: no stock"
    bench.retry(OUTER, 0, taken.answer.token)
    fresh, _ = bench.take_up(bench.take(OUTER, token=bench.wake(0).token))
    assert fresh.state == WAITS
    assert fresh.ticket != child


def test_a_child_that_somebody_cancels_fails_its_node_for_good(bench: FamilyBench) -> None:
    child, inner = bench.begin(), _inner()
    Controls(bench.store).halt_runs([child], RunState.CANCELLED, Who("ann", "no need"))
    [ready] = bench.run_through(inner, 0, "cancelled", run_id=child).ready
    verdict, _ = bench.take_up(bench.take(OUTER, token=ready.token))
    assert (verdict.state, verdict.kind, verdict.is_final) == (FAILED, "ChildRunCancelled", True)
    assert "by ann (no need)" in verdict.message


def test_in_a_halted_run_a_node_waits_for_its_child_to_end(bench: FamilyBench) -> None:
    child, inner = bench.begin(), _inner()
    bench.halt("r1", RunState.CANCELLED)
    renewed = bench.wake(0)
    taken = bench.take(OUTER, token=renewed.token)
    verdict, _ = bench.take_up(taken)
    assert (verdict.state, verdict.ticket) == (WAITS, child)
    assert bench.record(child).summary.halt == RunState.CANCELLED
    assert bench.wait(taken, child) is Word.RETRYING
    [ready] = bench.run_through(inner, 0, "cancelled", run_id=child).ready
    ended, _ = bench.take_up(bench.take(OUTER, token=ready.token))
    assert ended.state == CANCELLED


def test_in_a_halted_run_no_child_begins_and_one_that_is_abandoned_goes_on(bench: FamilyBench) -> None:
    bench.admit(OUTER)
    bench.halt("r1", RunState.CANCELLED)
    verdict, ready = bench.take_up(bench.take(OUTER))
    assert (verdict.state, ready) == (CANCELLED, [])
    assert len(bench.reader.list_runs(closed=False, limit=10)) == 1


def test_an_abandoned_child_goes_on(bench: FamilyBench) -> None:
    plan = _outer(Subflow(inline=INNER, on_parent_close=OnParentClose.ABANDON))
    child = bench.begin(plan)
    bench.halt("r1", RunState.CANCELLED)
    verdict, _ = bench.take_up(bench.take(plan, token=bench.wake(0).token))
    assert verdict.state == CANCELLED
    assert f"waits no more for run {child}, which it has begun" in verdict.message
    assert bench.record(child).summary.halt == ""


def test_who_has_lost_the_node_ends_the_child_that_nobody_waits_for(bench: FamilyBench) -> None:
    bench.admit(OUTER)
    taken = bench.take(OUTER)
    Controls(bench.store).terminate_runs([("r1", OUTER.hash)])
    verdict, _ = bench.take_up(taken)
    assert bench.wait(taken, verdict.ticket) is Word.STALE
    Orphans(bench.store, Plans(bench.reader.flow_body)).end([verdict.ticket])
    assert bench.status_of(verdict.ticket) is RunState.TERMINATED


@pytest.mark.parametrize("is_resumed", [False, True])
def test_a_child_is_paused_as_long_as_its_parent(bench: FamilyBench, is_resumed: bool) -> None:
    """Its parent was paused while it was begun, and may go on again before the child was paused."""
    bench.admit(OUTER)
    taken = bench.take(OUTER)
    controls = Controls(bench.store)
    controls.pause_runs(["r1"], Who("ann", "wait"))
    verdict, _ = bench.take_up(taken)
    assert bench.wait(taken, verdict.ticket) is Word.RETRYING
    if is_resumed:
        controls.resume_runs([("r1", OUTER.hash)])
    bench.children.pause(verdict.ticket, "r1")
    assert (bench.record(verdict.ticket).summary.paused is None) == is_resumed


def test_a_child_is_undone_once_each_time_that_its_parent_is(bench: FamilyBench) -> None:
    plan = _outer(Subflow(inline=UNDOABLE), OnFailure.COMPENSATE)
    inner = _inner(plan)
    child = bench.begin(plan)
    [ready] = bench.end(inner, child)
    taken = bench.take(plan, token=ready.token)
    verdict, _ = bench.take_up(taken)
    bench.settle(plan, 0, taken.answer.token, output=verdict.output)
    advance = bench.run_through(plan, 1, "failed", halt="failed")
    assert [each.node for each in advance.ready] == [2]

    undo = bench.take(plan, 2)
    waits, undone = bench.take_up(undo)
    assert waits.state == WAITS
    assert ticket_of(f"{WAITS_FOR_RUN}{waits.ticket}") == f"{child}#1"
    assert [each.run_id for each in undone] == [child]
    again, _ = bench.take_up(undo, bench.another())
    assert again == waits
    assert bench.wait(undo, waits.ticket) is Word.RETRYING
    answer = bench.claim(inner, 1, run_id=child)
    [ready] = bench.settle(inner, 1, answer.token, run_id=child).ready
    assert (ready.run_id, ready.node) == ("r1", 2)
    assert bench.status_of(child) is RunState.COMPENSATED
    last, _ = bench.take_up(bench.take(plan, 2, token=ready.token))
    assert last.state == SUCCEEDED


COUNTED = replace(UNDOABLE, name="counted", params=(Param("n"),))
LOOP = Plan.of(
    Flow(
        "loops",
        "1",
        (Node("l", "", compensation=Compensation(""), step=Loop("output >= 3", 3, inline=COUNTED, count_as="n")),),
    )
)


def _iterate(bench: FamilyBench, outputs: list[int | str]) -> list[str]:
    """Let iterations end with these outputs; the children, the last of them still going on."""
    bench.admit(LOOP)
    token = 1
    children: list[str] = []
    for output in [*outputs, None]:
        taken = bench.take(LOOP, token=token)
        verdict, _ = bench.take_up(taken)
        if verdict.state != WAITS:
            bench.settle(LOOP, 0, taken.answer.token, verdict.state, output=verdict.output)
            return [*children, verdict.state, verdict.message]
        assert bench.wait(taken, verdict.ticket) is Word.RETRYING
        children.append(verdict.ticket)
        if output is not None:
            [ready] = bench.run_through(_inner(LOOP), 0, run_id=verdict.ticket, output=pack(output)).ready
            token = ready.token
    return children


def test_a_loop_goes_on_until_its_condition_holds(bench: FamilyBench) -> None:
    first, second, state, _ = _iterate(bench, [1, 3])
    assert (state, first != second) == (SUCCEEDED, True)
    assert [unpack(bench.record(each).params) for each in (first, second)] == [{"n": 1}, {"n": 2}]
    assert bench.record().nodes[0].attempt == 1


def test_a_loop_has_an_end(bench: FamilyBench) -> None:
    *children, state, message = _iterate(bench, [1, 1, 2])
    assert (len(set(children)), state) == (3, FAILED)
    assert message == f"'output >= 3' was false after each of 3 iterations; the last was run {children[-1]}"


def test_a_condition_that_is_neither_true_nor_false_fails_the_loop(bench: FamilyBench) -> None:
    *children, state, message = _iterate(bench, ["many"])
    assert (len(children), state) == (1, FAILED)
    assert "after iteration 1" in message


def test_who_takes_a_loop_up_again_begins_no_iteration_twice(bench: FamilyBench) -> None:
    [_, second] = _iterate(bench, [1])
    bench.pass_wait()
    verdict, _ = bench.take_up(bench.take(LOOP, token=bench.wake(0).token))
    assert (verdict.state, verdict.ticket) == (WAITS, second)
    assert len(bench.reader.list_runs(closed=False, limit=10)) == 2


def test_all_iterations_of_a_loop_are_undone_the_last_one_first(bench: FamilyBench) -> None:
    first, second, _, _ = _iterate(bench, [1, 3])
    plan, inner = LOOP, _inner(LOOP)
    values = bench.reader.run_fields("r1", plan.inputs(1).fields)
    walk = plan.inputs(1).fields.index("compensation")
    values[walk] = b"1"
    taken = Taken(plan, NodeKey("r1", 1), "r1", ClaimAnswer(Word.CLAIMED), values)
    for child in (second, first):
        verdict, _ = bench.take_up(taken)
        assert verdict.ticket == f"{child}#1"
        undo = bench.claim(inner, 1, run_id=child)
        bench.settle(inner, 1, undo.token, run_id=child)
        assert bench.status_of(child) is RunState.COMPENSATED
    verdict, _ = bench.take_up(taken)
    assert verdict.state == SUCCEEDED


def test_a_run_that_is_no_child_is_not_taken_for_one(bench: FamilyBench) -> None:
    bench.admit(OUTER)
    taken = bench.take(OUTER)
    inputs = OUTER.inputs(0)
    assert isinstance(inputs, ChildInputs)
    bench.admit(plan_of(Node("a", "t")), inputs.around(taken.values).child_id(taken.key))
    verdict, ready = bench.take_up(taken)
    assert (verdict.state, verdict.kind, ready) == (FAILED, "RunConflictError", [])


def test_a_result_over_the_limit_fails_the_node(bench: FamilyBench) -> None:
    child, inner = bench.begin(), _inner()
    bench.run_through(inner, 0, run_id=child)
    [ready] = bench.run_through(inner, 1, run_id=child, output=pack("x" * LIMIT)).ready
    verdict, _ = bench.take_up(bench.take(OUTER, token=ready.token))
    assert (verdict.kind, verdict.is_final) == ("TooLargeError", True)


def test_a_damaged_node_does_not_stop_the_others(bench: FamilyBench) -> None:
    bench.admit(OUTER)
    taken = bench.take(OUTER)
    broken = taken._replace(values=[b"\xc1"] * len(taken.values))
    [first, second], _ = bench.children.take_up([broken, taken])
    assert (first.state, second.state) == (FAILED, WAITS)
