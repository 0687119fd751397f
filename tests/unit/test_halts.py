"""The keeper ends what is left of halted runs, though no worker serves their pools."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from taskmesh.dispatch.dispatcher import Dispatcher
from taskmesh.dispatch.plan import BEFORE_HOOKS, Plan
from taskmesh.dispatch.plans import Plans
from taskmesh.keeper.halts import AGAIN_SECONDS, NODES_PER_PAGE, UNREADABLE_SECONDS, Halts
from taskmesh.keeper.keeper import KeeperParts
from taskmesh.keeper.leadership import Leadership
from taskmesh.model.flow import Compensation, Flow, Node, OnFailure
from taskmesh.model.hooks import Hook
from taskmesh.model.states import NodeState, RunState
from taskmesh.model.triggers import Rule, Trigger
from taskmesh.observability.tally import Tally
from taskmesh.store.calls import NodeKey, Word
from taskmesh.store.elections import Elections
from taskmesh.store.link import Command
from taskmesh.wire import unpack
from taskmesh.wire.messages import NodeMessage, decode_message
from tests.contract.store_bench import ME, OTHER, Bench, plan_of
from tests.model.lab import settlement
from tests.unit.test_keeper import SilentBroker

GRACE_SECONDS = 6.0
FAR_SECONDS = 3600.0
MOST_LOOKS = 200
CHAIN = plan_of(Node("a", "t"), Node("b", "t", needs=("a",)), Node("c", "t"))


class HaltsBench:
    """A keeper's look at halted runs; the test says what time it is, counted from the begin."""

    def __init__(self, url: str, namespace: str) -> None:
        self.side = Bench(url, namespace)
        self.broker = SilentBroker()
        self.begun = self.side.housekeeping.time()
        leadership = Leadership(Elections(self.side.link, self.side.keys), "keeper", FAR_SECONDS)
        asyncio.run(leadership.renew(self.begun))
        parts = KeeperParts(
            self.side.store,
            self.side.reader,
            self.side.housekeeping,
            Plans(self.side.reader.flow_body),
            Dispatcher(self.broker),
            self.broker,
            Tally(),
            leadership,
        )
        self.halts = Halts(parts, "keeper", GRACE_SECONDS)
        self.look(0.0)

    def look(self, at: float = 1.0) -> bool:
        return asyncio.run(self.halts.look(self.begun + at))

    def looks(self, at: float = 1.0) -> int:
        """Look until there is nothing more to be seen; returns how often that was."""
        for count in range(MOST_LOOKS):
            if not self.look(at):
                return count
        raise AssertionError("it comes to no end")

    def status(self, run_id: str = "r1") -> RunState:
        return self.side.record(run_id).summary.status

    def states(self, run_id: str = "r1") -> dict[int, str]:
        return {at: str(node.state) for at, node in self.side.record(run_id).nodes.items()}

    @property
    def published(self) -> list[NodeKey]:
        messages = [decode_message(each.body) for each in self.broker.published]
        return [NodeKey(each.run_id, each.node) for each in messages if isinstance(each, NodeMessage)]


@pytest.fixture
def bench(valkey_url: str, namespace: str) -> Iterator[HaltsBench]:
    bench = HaltsBench(valkey_url, namespace)
    yield bench
    bench.side.link.close()


def _pause(bench: Bench) -> None:
    bench.controls.pause_runs(["r1"])


def _retry(bench: Bench) -> None:
    bench.retry(CHAIN, 0, bench.claim(CHAIN, 0).token, FAR_SECONDS)


def _park(bench: Bench) -> None:
    token = bench.claim(CHAIN, 0).token
    bench.settle(CHAIN, 0, token, "retrying", delay_seconds=FAR_SECONDS, counts=False, cause="breaker:payments")


@pytest.mark.parametrize(
    "before", [lambda bench: None, _pause, _retry, _park], ids=("ready", "paused", "retry", "breaker")
)
def test_a_halted_run_ends_without_a_worker(bench: HaltsBench, before: Callable[[Bench], None]) -> None:
    bench.side.admit(CHAIN)
    before(bench.side)
    bench.side.halt("r1", "failed")
    bench.looks()
    assert bench.status() is RunState.FAILED
    assert bench.states() == {0: "cancelled", 1: "skipped", 2: "cancelled"}
    assert unpack(bench.side.record().errors[2])["message"] == "not started: the run is failed"
    assert bench.side.housekeeping.halted_runs(1e12, 10) == []


def test_a_failure_halts_what_no_worker_claims(bench: HaltsBench) -> None:
    bench.side.admit(CHAIN)
    bench.side.run_through(CHAIN, 2, "failed", halt="failed")
    assert bench.status() is RunState.RUNNING
    bench.looks()
    assert (bench.status(), bench.states()) == (RunState.FAILED, {0: "cancelled", 1: "skipped", 2: "failed"})


def test_what_runs_is_left_to_its_worker_and_what_follows_from_it_is_ended(bench: HaltsBench) -> None:
    bench.side.admit(CHAIN)
    token = bench.side.claim(CHAIN, 0).token
    bench.side.halt("r1", "cancelled")
    bench.looks()
    assert (bench.status(), bench.states()) == (RunState.RUNNING, {0: "running", 2: "cancelled"})
    bench.side.settle(CHAIN, 0, token)
    assert bench.looks() == 0, "it rests"
    bench.looks(1.0 + AGAIN_SECONDS)
    assert (bench.status(), bench.states()[1]) == (RunState.CANCELLED, "cancelled")


def test_what_a_dead_worker_ran_is_ended_after_the_grace(bench: HaltsBench) -> None:
    bench.side.admit(CHAIN)
    bench.side.claim(CHAIN, 0, OTHER)
    bench.side.halt("r1", "cancelled")
    bench.side.housekeeping.end_holder(OTHER)
    bench.looks(GRACE_SECONDS - 1)
    assert bench.states()[0] == "running"
    bench.looks(GRACE_SECONDS + 1)
    assert bench.status() is RunState.CANCELLED


def test_after_a_store_that_was_away_the_grace_begins_again(bench: HaltsBench) -> None:
    bench.side.admit(CHAIN)
    bench.side.claim(CHAIN, 0, OTHER)
    bench.side.halt("r1", "cancelled")
    bench.side.housekeeping.end_holder(OTHER)
    bench.halts.forget()
    bench.looks(GRACE_SECONDS + 1)
    assert bench.states()[0] == "running"


def test_a_keeper_that_dies_between_claim_and_end_is_followed_by_another(bench: HaltsBench) -> None:
    bench.side.admit(CHAIN)
    bench.side.halt("r1", "cancelled")
    assert bench.side.claim(CHAIN, 0, "another keeper/halts").word is Word.CLAIMED
    bench.looks(GRACE_SECONDS + 1)
    assert bench.status() is RunState.CANCELLED


def test_a_teller_that_died_is_followed(bench: HaltsBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskmesh.dispatch.plan.EDGES_PER_SCRIPT", 2)
    wide = plan_of(Node("a", "t"), *(Node(f"b{at}", "t", needs=("a",)) for at in range(5)))
    bench.side.admit(wide)
    token = bench.side.claim(wide, 0).token
    with monkeypatch.context() as dying:
        dying.setattr(type(bench.side.store), "spread_nodes", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            bench.side.settle(wide, 0, token)
    bench.side.halt("r1", "cancelled")
    bench.looks()
    bench.looks(1.0 + AGAIN_SECONDS)
    assert bench.status() is RunState.CANCELLED


def test_more_nodes_than_one_look_ends(bench: HaltsBench) -> None:
    count = 5 * NODES_PER_PAGE
    bench.side.admit(plan_of(*(Node(f"n{at}", "t") for at in range(count))))
    bench.side.halt("r1", "cancelled")
    assert bench.looks() > 2
    assert bench.status() is RunState.CANCELLED
    assert {state for at, state in bench.states().items() if at >= 0} == {"cancelled"}


def test_its_undos_are_published(bench: HaltsBench) -> None:
    undo = Compensation("u", "default")
    nodes = (Node("a", "t", compensation=undo), Node("b", "t", needs=("a",)))
    plan = Plan.of(Flow("flow", "1", nodes, on_failure=OnFailure.COMPENSATE))
    bench.side.admit(plan)
    bench.side.run_through(plan, 0)
    [answer] = bench.side.controls.halt_runs(["r1"], "cancelled", compensate=True)
    assert answer.word is Word.HALTED
    bench.looks()
    assert bench.status() is RunState.COMPENSATING
    assert bench.published == [NodeKey("r1", plan.undo_of(0))]


def test_a_run_that_goes_on_again_keeps_its_nodes(bench: HaltsBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.side.admit(CHAIN)
    bench.side.halt("r1", "cancelled")
    wake = type(bench.side.housekeeping).retrying_nodes

    def reopen(*arguments: object) -> list[int]:
        """What a caller does just after the keeper has seen that the run is halted."""
        bench.side.controls.terminate_runs([("r1", CHAIN.hash)])
        bench.side.controls.reopen_run("r1", CHAIN.hash, "retry")
        bench.side.controls.resume_runs([("r1", CHAIN.hash)], "retry")
        monkeypatch.setattr(type(bench.side.housekeeping), "retrying_nodes", wake)
        return []

    monkeypatch.setattr(type(bench.side.housekeeping), "retrying_nodes", reopen)
    bench.looks()
    record = bench.side.record()
    assert [record.nodes[at].state for at in (0, 2)] == [NodeState.READY] * 2
    assert [record.nodes[at].attempt for at in (0, 2)] == [0, 0]
    assert sorted(bench.published) == [NodeKey("r1", 0), NodeKey("r1", 2)]
    assert bench.side.claim(CHAIN, 0, token=record.nodes[0].token).halt == ""


def test_one_that_cannot_be_read_makes_room_for_others(bench: HaltsBench) -> None:
    bench.side.admit(CHAIN)
    bench.side.halt("r1", "cancelled")
    key = bench.side.keys.partition_of("r1").flow(CHAIN.hash)
    bench.side.link.exchange([Command(key, "HSET", key, "body", b"\xc1")])
    bench.looks()
    assert bench.side.housekeeping.halted_runs(bench.begun + UNREADABLE_SECONDS, 10) == []
    assert bench.side.housekeeping.halted_runs(bench.begun + UNREADABLE_SECONDS + 2, 10) == ["r1"]


def test_a_run_whose_record_is_damaged_makes_room_for_others(bench: HaltsBench) -> None:
    for run_id in ("r1", "r2"):
        bench.side.admit(CHAIN, run_id)
        bench.side.halt(run_id, "cancelled")
    key = bench.side.keys.run("r1")
    bench.side.link.exchange([Command(key, "HSET", key, "node:0", b"\xc1")])
    bench.looks()
    assert bench.status("r2") is RunState.CANCELLED
    assert bench.side.housekeeping.halted_runs(bench.begun + UNREADABLE_SECONDS, 10) == []


def test_what_runs_in_a_halted_run_too_is_left_to_workers(bench: HaltsBench) -> None:
    tidy = Trigger(Rule.ALWAYS)
    plan = plan_of(
        Node("a", "t"), Node("tidy", "t", needs=("a",), trigger=tidy), Node("again", "t", needs=("a",), trigger=tidy)
    )
    bench.side.admit(plan)
    bench.side.halt("r1", "cancelled")
    bench.look(GRACE_SECONDS + 1.0)
    assert bench.states() == {0: "cancelled", 1: "ready", 2: "ready"}
    bench.side.retry(plan, 2, bench.side.claim(plan, 2).token, delay_seconds=FAR_SECONDS)
    for _ in range(3):
        bench.look(GRACE_SECONDS + 10.0)
    assert bench.states() == {0: "cancelled", 1: "ready", 2: "retrying"}
    assert set(bench.published) == {NodeKey("r1", 1), NodeKey("r1", 2)}


def test_hooks_of_a_halted_run_are_told_and_left_to_workers(bench: HaltsBench) -> None:
    """Whoever ended the last node before them has died before he told them; no worker serves the first pool."""
    hooks = (
        Node("a.finally", "t", needs=("a",), pool="hooks", trigger=Trigger(hook=Hook.FINALLY)),
        Node("flow:finally", "t", pool="hooks", trigger=Trigger(hook=Hook.FINALLY)),
    )
    plan = plan_of(Node("a", "t"), *hooks)
    bench.side.admit(plan)
    bench.side.halt("r1", "cancelled")
    bench.looks()
    assert (bench.status(), bench.states()) == (RunState.RUNNING, {0: "cancelled", 1: "ready"})
    token = bench.side.claim(plan, 1).token
    bench.side.store.settle_nodes([settlement(plan, NodeKey("r1", 1), token, "succeeded", "")], ME)
    assert bench.states() == {0: "cancelled", 1: "succeeded", BEFORE_HOOKS: "succeeded"}
    bench.looks(1.0 + AGAIN_SECONDS)
    assert bench.states()[2] == "ready"
    assert bench.published[-1] == NodeKey("r1", 2)
    bench.looks(3.0 + AGAIN_SECONDS)
    assert bench.side.run_through(plan, 2).run_status == "cancelled"
