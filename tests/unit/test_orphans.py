"""No child outlives its parent that is to end with it: whoever died in between, the keeper's looks find it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count, islice, pairwise

import pytest

from taskmesh.dispatch.advance import Ending, Mark
from taskmesh.dispatch.children.children import WAITS, Children, Taken
from taskmesh.dispatch.children.orphans import FIRST_LOOK_SECONDS
from taskmesh.dispatch.dispatcher import Dispatcher
from taskmesh.dispatch.plan import TO_PARENT, Plan
from taskmesh.dispatch.plans import Plans
from taskmesh.dispatch.reopening import resets
from taskmesh.keeper.families import CHILDREN_PER_PASS, LAST_LOOK_SECONDS, Families
from taskmesh.keeper.keeper import KeeperParts
from taskmesh.keeper.leadership import Leadership
from taskmesh.model.flow import Compensation, Flow, Node, OnFailure
from taskmesh.model.loops import Loop
from taskmesh.model.states import RunState
from taskmesh.model.subflows import ChildStep, OnParentClose, Subflow
from taskmesh.model.triggers import Rule, Trigger
from taskmesh.observability.tally import Tally
from taskmesh.store.calls import NodeKey, Who, Word
from taskmesh.store.elections import Elections
from taskmesh.store.family import WAITS_FOR_RUN, RunKey
from taskmesh.store.link import Command
from tests.contract.store_bench import ME, OTHER, Bench
from tests.unit.test_keeper import MovableTime, SilentBroker

FAR_SECONDS = 1e7
LIMIT = 10_000
INNER = Flow("inner", "1", (Node("x", "t", compensation=Compensation("u")), Node("y", "t", needs=("x",))))


def _outer(step: ChildStep) -> Plan:
    begins = Node("begins", "", step=step, compensation=Compensation(""))
    return Plan.of(Flow("outer", "1", (begins, Node("after", "t", needs=("begins",))), on_failure=OnFailure.COMPENSATE))


OUTER = _outer(Subflow(inline=INNER))
LEAVING = _outer(Subflow(inline=INNER, on_parent_close=OnParentClose.ABANDON))


class Orphanage:
    """A parent ``r1`` with one child, and a keeper that looks after it; nobody else does what was left undone."""

    def __init__(self, url: str, namespace: str) -> None:
        self.side = Bench(url, namespace)
        self.time = MovableTime(self.side.link, self.side.keys, 60.0)
        self.begun = self.time.at = self.side.housekeeping.time()
        leadership = Leadership(Elections(self.side.link, self.side.keys), "keeper", FAR_SECONDS)
        asyncio.run(leadership.renew(self.begun))
        broker = SilentBroker()
        stored = self.side.store, self.side.reader, self.time, Plans(self.side.reader.flow_body)
        self.families = Families(KeeperParts(*stored, Dispatcher(broker), broker, Tally(), leadership))
        self.children = Children(self.side.store, Plans(self.side.reader.flow_body), LIMIT)

    def look(self, after_seconds: float = FIRST_LOOK_SECONDS + 1) -> None:
        """A look so long after the begin."""
        self.time.at = self.begun + after_seconds
        asyncio.run(self.families.look())

    def take(self, plan: Plan, node: int = 0, holder: str = ME, token: int = 1) -> Taken:
        answer = self.side.claim(plan, node, holder, token=token)
        assert answer.word is Word.CLAIMED
        return Taken(plan, NodeKey("r1", node), "r1", answer, answer.fields)

    def take_up(self, taken: Taken) -> str:
        """Begin the child, or go on with it; its ticket."""
        [verdict], _ = self.children.take_up([taken])
        assert verdict.state == WAITS
        return verdict.ticket

    def wait(self, taken: Taken, ticket: str) -> Word:
        ending = Ending(taken.plan, taken.key, taken.answer.token, "r1", "retrying", delay_seconds=60.0)
        ending = ending._replace(counts=False, cause=f"{WAITS_FOR_RUN}{ticket}", ticket=ticket)
        return self.side.advancer.settle([ending], ME)[0].word

    def begin(self, plan: Plan = OUTER, waits: bool = True) -> str:
        """Admit the parent and begin its child; the id of that."""
        self.side.admit(plan)
        taken = self.take(plan)
        ticket = self.take_up(taken)
        if waits:
            assert self.wait(taken, ticket) is Word.RETRYING
        return ticket

    def status(self, run_id: str) -> RunState:
        return self.side.record(run_id).summary.status

    def is_stopped(self, run_id: str) -> bool:
        return self.status(run_id).ended or self.side.record(run_id).summary.halt == RunState.CANCELLED

    def terminate(self, plan: Plan) -> None:
        self.side.controls.terminate_runs([("r1", plan.hash)])

    @property
    def looked_after(self) -> list[str]:
        return self.time.children(1e12, LIMIT)


@pytest.fixture
def bench(redis_url: str, namespace: str) -> Iterator[Orphanage]:
    made = Orphanage(redis_url, namespace)
    yield made
    made.side.link.close()


def _cancel_all(bench: Orphanage, plan: Plan) -> None:
    """The run is cancelled; both of its nodes end, as of somebody who knows of no child."""
    bench.side.halt("r1", RunState.CANCELLED)
    bench.side.housekeeping.end_holder(ME)
    answer = bench.side.claim(plan, 0, OTHER)
    bench.side.settle(plan, 0, answer.token, "cancelled", OTHER)


def _fail(bench: Orphanage, plan: Plan) -> None:
    """A look of the node fails, as something cannot be read: the child that it has begun goes on."""
    answer = bench.side.claim(plan, 0)
    bench.side.settle(plan, 0, answer.token, "failed", halt="failed")


def _mark(bench: Orphanage, plan: Plan) -> None:
    """The node is skipped by hand; who did it dies before the child is cancelled."""
    bench.side.advancer.mark([Mark(plan, NodeKey("r1", 0), "r1", "skipped", b"", "somebody")])


def _retry(bench: Orphanage, plan: Plan) -> None:
    """The next attempt of the node is to begin another child."""
    answer = bench.side.claim(plan, 0)
    bench.side.retry(plan, 0, answer.token, 60.0)


def _forget(bench: Orphanage, plan: Plan) -> None:
    bench.side.link.exchange([Command("", "DEL", bench.side.keys.run("r1"))])


ENDS: dict[str, Callable[[Orphanage, Plan], None]] = {
    "its parent is cancelled": _cancel_all,
    "its parent is terminated": lambda bench, plan: bench.terminate(plan),
    "its node fails": _fail,
    "its node is ended by hand": _mark,
    "its node is tried again": _retry,
    "its parent is gone": _forget,
}


@pytest.mark.parametrize("end", ENDS)
def test_a_child_that_nobody_waits_for_is_ended(bench: Orphanage, end: str) -> None:
    """Whoever did this has died before anything was done about the child."""
    child = bench.begin(waits=False)
    ENDS[end](bench, OUTER)
    assert not bench.is_stopped(child)
    bench.look(FIRST_LOOK_SECONDS - 1)
    assert not bench.is_stopped(child), "it is not looked at so soon"
    bench.look()
    assert bench.is_stopped(child)
    is_terminated = end == "its parent is terminated"
    assert (bench.status(child) is RunState.TERMINATED) == is_terminated
    who = bench.side.record(child).summary.halted_by
    assert who is not None
    assert who.by == "run r1"


@pytest.mark.parametrize("end", ["its parent is cancelled", "its parent is terminated", "its node is ended by hand"])
def test_a_child_that_is_begun_when_nobody_wants_it_any_more_is_ended(bench: Orphanage, end: str) -> None:
    """Who begins it had claimed the node before, was held up, and dies before it hears that the node is lost."""
    bench.side.admit(OUTER)
    taken = bench.take(OUTER)
    ENDS[end](bench, OUTER)
    child = bench.take_up(taken)
    bench.look()
    assert bench.is_stopped(child)


def test_a_child_of_a_reopened_parent_is_ended(bench: Orphanage) -> None:
    """It was terminated and begins anew, with another child, before anybody has ended the first."""
    child = bench.begin()
    bench.terminate(OUTER)
    bench.side.controls.reopen_run("r1", OUTER.hash, "retry", Who("ann", "again"))
    records, counts = bench.side.reader.records_of_run("r1"), bench.side.reader.counts("r1", "arrived")
    wishes = resets(OUTER, records, counts, None, {})
    bench.side.controls.reset_nodes("r1", "retry", OUTER.pools, wishes)
    bench.look()
    assert bench.is_stopped(child)


@pytest.mark.parametrize("end", ENDS)
def test_an_abandoned_child_goes_on(bench: Orphanage, end: str) -> None:
    child = bench.begin(LEAVING, waits=False)
    ENDS[end](bench, LEAVING)
    bench.look(FAR_SECONDS / 2)
    assert not bench.is_stopped(child)
    assert bench.looked_after == []


@pytest.mark.parametrize("waits", [True, False])
def test_a_child_that_is_waited_for_goes_on(bench: Orphanage, waits: bool) -> None:
    child = bench.begin(waits=waits)
    bench.look()
    assert not bench.is_stopped(child)
    assert bench.looked_after == [child]


def test_what_is_waited_for_is_looked_at_ever_more_seldom(bench: Orphanage) -> None:
    child = bench.begin()
    looks = []
    for at in range(0, 4000, 5):
        before = bench.time.children(bench.begun + at, LIMIT)
        bench.look(float(at))
        looks += [float(at)] if before else []
    assert bench.looked_after == [child]
    rests = [later - earlier for earlier, later in pairwise(looks)]
    assert rests == sorted(rests)
    assert rests[0] <= FIRST_LOOK_SECONDS + 5
    assert max(rests) == pytest.approx(LAST_LOOK_SECONDS, abs=5)
    assert len(looks) < 16


def test_a_child_that_has_told_its_end_is_looked_at_no_more(bench: Orphanage) -> None:
    child, inner = bench.begin(), OUTER.inner_plan(0)
    assert inner is not None
    for at in range(2):
        bench.side.run_through(inner, at, run_id=child)
    assert bench.looked_after == []


def test_a_child_that_has_not_told_its_end_is_forgotten_when_it_is_looked_at(bench: Orphanage) -> None:
    """Who ended it died before its parent was told; that stands in its outbox, and is nobody's business here."""
    child, inner = bench.begin(), OUTER.inner_plan(0)
    assert inner is not None
    bench.side.controls.terminate_runs([RunKey(child, inner.hash, inner.pools[0])])
    assert bench.looked_after == [child]
    bench.look()
    assert bench.looked_after == []
    assert NodeKey(child, TO_PARENT) in bench.side.outbox()


def test_a_child_that_ended_and_is_run_again_by_hand_goes_on(bench: Orphanage) -> None:
    child, inner = bench.begin(), OUTER.inner_plan(0)
    assert inner is not None
    bench.side.run_through(inner, 0, "failed", run_id=child, halt="failed")
    bench.terminate(OUTER)
    assert bench.side.controls.reopen_run(child, inner.hash, "retry", Who("ann", "again")).word is Word.REOPENED
    bench.look(FAR_SECONDS / 2)
    assert not bench.is_stopped(child)


LOOP = _outer(Loop("output == 1", 3, inline=INNER))


def test_the_iteration_of_a_loop_that_is_waited_for_goes_on(bench: Orphanage) -> None:
    first, inner = bench.begin(LOOP), LOOP.inner_plan(0)
    assert inner is not None
    for at in range(2):
        [*_, ready] = bench.side.run_through(inner, at, run_id=first).ready
    taken = bench.take(LOOP, token=ready.token)
    second = bench.take_up(taken)
    assert second != first
    bench.look()
    assert not bench.is_stopped(second), "its node runs, and is about to wait"
    assert bench.wait(taken, second) is Word.RETRYING
    bench.look(30.0)
    assert not bench.is_stopped(second)
    bench.terminate(LOOP)
    bench.look(90.0)
    assert bench.status(second) is RunState.TERMINATED


def test_the_child_of_a_node_that_always_runs_outlives_a_halt_and_no_termination(bench: Orphanage) -> None:
    """Also where the node just looks for the child's end when its run is terminated."""
    always = Plan.of(
        Flow("outer", "1", (Node("a", "t"), replace(OUTER.flow.nodes[0], needs=("a",), trigger=Trigger(Rule.ALWAYS))))
    )
    bench.side.admit(always)
    bench.side.run_through(always, 0)
    taken = bench.take(always, 1)
    child = bench.take_up(taken)
    bench.side.halt("r1", RunState.CANCELLED)
    bench.look()
    assert not bench.is_stopped(child)
    bench.terminate(always)
    bench.look(30.0)
    assert bench.status(child) is RunState.TERMINATED


def _undo(bench: Orphanage) -> str:
    """Begin to undo a child for its parent, whose node just looks for the end of that."""
    child, inner = bench.begin(), OUTER.inner_plan(0)
    assert inner is not None
    for at in range(2):
        [*_, ready] = bench.side.run_through(inner, at, run_id=child).ready
    [verdict], _ = bench.children.take_up([bench.take(OUTER, token=ready.token)])
    bench.side.settle(OUTER, 0, ready.token + 1, output=verdict.output)
    bench.side.run_through(OUTER, 1, "failed", halt="failed")
    assert bench.take_up(bench.take(OUTER, 2)) == f"{child}#1"
    assert bench.status(child) is RunState.COMPENSATING
    return child


def test_a_child_is_undone_as_long_as_that_is_waited_for(bench: Orphanage) -> None:
    child = _undo(bench)
    bench.look(30.0)
    assert bench.status(child) is RunState.COMPENSATING


def test_the_undoing_of_a_child_ends_with_its_parent(bench: Orphanage) -> None:
    child = _undo(bench)
    bench.terminate(OUTER)
    bench.look(30.0)
    assert bench.status(child) is RunState.TERMINATED


def test_damage_hides_no_other_orphan(bench: Orphanage) -> None:
    child = bench.begin(waits=False)
    bench.terminate(OUTER)
    damaged = "damaged"
    bench.side.admit(OUTER, damaged)
    key = bench.side.keys.run(damaged)
    bench.side.link.exchange(
        [
            Command("", "HSET", key, "parent", b"\xc1"),
            Command("", "ZADD", bench.side.keys.partition_of(damaged).children, 0, damaged),
        ]
    )
    bench.look()
    assert bench.status(child) is RunState.TERMINATED


def test_a_look_is_bounded(bench: Orphanage) -> None:
    partition = bench.side.keys.partitions[0]
    ids = (f"gone{at}" for at in count())
    gone = list(islice((each for each in ids if bench.side.keys.partition_of(each) is partition), 250))
    bench.side.link.exchange([Command("", "ZADD", partition.children, 0, each) for each in gone])
    bench.look()
    assert len(bench.looked_after) == len(gone) - CHILDREN_PER_PASS
