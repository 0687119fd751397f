"""The scripts of retries and timers, on every server that taskmesh supports."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskmesh.model.flow import Node
from taskmesh.model.states import NodeState
from taskmesh.store.calls import RUN_DEADLINE, NodeKey, Word
from taskmesh.wire import unpack
from tests.contract.store_bench import OTHER, Bench, plan_of

KEY = NodeKey("r1", 0)
PLAN = plan_of(Node("a", "t"), Node("b", "t"), Node("c", "t", needs=("a",)))
FAR_SECONDS = 3600.0


@pytest.fixture(params=("redis_url", "valkey_url", "redis_cluster_url"))
def bench(request: pytest.FixtureRequest, namespace: str) -> Iterator[Bench]:
    bench = Bench(request.getfixturevalue(request.param), namespace)
    bench.admit(PLAN)
    yield bench
    bench.link.close()


def _state(bench: Bench) -> NodeState:
    return bench.record().nodes[0].state


def test_a_retry_gives_the_node_a_timer_until_it_is_woken(bench: Bench) -> None:
    claimed = bench.claim(PLAN, 0)
    assert bench.retry(PLAN, 0, claimed.token).word is Word.RETRYING
    assert (_state(bench), bench.timers()) == (NodeState.RETRYING, {KEY})
    assert KEY in bench.outbox()
    assert unpack(bench.record().errors[0])["message"] == "once more"
    woken = bench.wake(0)
    assert (woken.word, woken.attempt, woken.token) == (Word.WOKEN, 1, claimed.token + 1)
    assert (_state(bench), bench.timers()) == (NodeState.READY, set())
    assert KEY in bench.outbox()
    again = bench.claim(PLAN, 0, token=woken.token)
    assert (again.attempt, again.retries) == (2, 1)
    bench.settle(PLAN, 0, again.token)
    assert _state(bench) is NodeState.SUCCEEDED
    assert unpack(bench.record().errors[0])["message"] == "once more"


def test_calls_may_be_repeated(bench: Bench) -> None:
    token = bench.claim(PLAN, 0).token
    bench.retry(PLAN, 0, token)
    assert bench.retry(PLAN, 0, token).word is Word.AGAIN
    woken = bench.wake(0)
    repeated = bench.wake(0)
    assert (repeated.word, repeated[1:]) == (Word.AGAIN, woken[1:])
    assert bench.retry(PLAN, 0, token).word is Word.STALE
    assert bench.record().nodes[0].retries == 1


def test_a_node_that_is_not_due_sleeps_on(bench: Bench) -> None:
    token = bench.claim(PLAN, 0).token
    bench.retry(PLAN, 0, token, FAR_SECONDS)
    [(key, due)] = bench.housekeeping.timers(1e12, 10)
    assert key == KEY
    assert due - bench.housekeeping.time() == pytest.approx(FAR_SECONDS, abs=5.0)
    assert bench.wake(0).word is Word.EARLY
    assert bench.claim(PLAN, 0, token=token).word is Word.EARLY
    assert bench.redrive(0).word is Word.RETRYING
    assert (_state(bench), bench.timers()) == (NodeState.RETRYING, {KEY})
    assert KEY not in bench.housekeeping.overdue("default", bench.housekeeping.time() + FAR_SECONDS / 2, 10)


def test_a_timer_that_was_lost_is_set_again(bench: Bench) -> None:
    bench.retry(PLAN, 0, bench.claim(PLAN, 0).token)
    before = bench.housekeeping.timers(1e12, 10)
    bench.housekeeping.forget_timer(KEY)
    assert bench.timers() == set()
    assert KEY in bench.housekeeping.overdue("default", bench.housekeeping.time() + 1, 10)
    assert bench.redrive(0).word is Word.RETRYING
    assert bench.housekeeping.timers(1e12, 10) == before
    assert bench.wake(0).word is Word.WOKEN


def test_a_timer_that_cannot_be_rung_makes_room_for_others(bench: Bench) -> None:
    for node in (0, 1):
        bench.retry(PLAN, node, bench.claim(PLAN, node).token)
    bench.housekeeping.postpone_timers([KEY, NodeKey("none", 7)], bench.housekeeping.time() + FAR_SECONDS)
    assert [key for key, _ in bench.housekeeping.timers(1e12, 10)] == [NodeKey("r1", 1), KEY]


def test_nobody_settles_a_node_that_waits_for_its_next_attempt(bench: Bench) -> None:
    token = bench.claim(PLAN, 0).token
    bench.retry(PLAN, 0, token, FAR_SECONDS)
    assert bench.settle(PLAN, 0, token).word is Word.STALE
    assert bench.settle(PLAN, 0, token, "failed").word is Word.STALE
    assert bench.release(0, token) is Word.STALE
    assert bench.record().summary.remaining == 3


@pytest.mark.parametrize("by", ["cancel", "failure"])
def test_a_halted_run_wakes_its_sleepers(bench: Bench, by: str) -> None:
    bench.retry(PLAN, 0, bench.claim(PLAN, 0).token, FAR_SECONDS)
    if by == "cancel":
        bench.halt("r1", "cancelled")
    else:
        bench.run_through(PLAN, 1, "failed", halt="failed")
    assert bench.timers() == {KEY}
    assert bench.housekeeping.halted_runs(1e12, 10) == ["r1"]
    assert bench.housekeeping.retrying_nodes("r1", 10) == [0]
    assert bench.wake(0).word is Word.WOKEN
    assert bench.housekeeping.retrying_nodes("r1", 10) == []
    bench.housekeeping.forget_halted(["r1"])
    assert bench.housekeeping.halted_runs(1e12, 10) == []
    assert bench.claim(PLAN, 0, token=3).halt


def test_a_run_that_ends_with_its_failure_is_not_among_the_halted(bench: Bench) -> None:
    bench.admit(plan_of(Node("a", "t"), Node("b", "t", needs=("a",))), "r2")
    bench.run_through(plan_of(Node("a", "t"), Node("b", "t", needs=("a",))), 0, "failed", run_id="r2", halt="failed")
    assert bench.record("r2").summary.status == "failed"
    assert bench.housekeeping.halted_runs(1e12, 10) == []


def test_a_retry_in_a_halted_run_is_due_at_once(bench: Bench) -> None:
    token = bench.claim(PLAN, 0).token
    bench.halt("r1", "cancelled")
    bench.retry(PLAN, 0, token, FAR_SECONDS)
    [(_, due)] = bench.housekeeping.timers(1e12, 10)
    assert due <= bench.housekeeping.time()
    assert bench.record().nodes[0].ready_at == due
    assert bench.wake(0).word is Word.WOKEN


def test_a_claim_tells_how_long_the_node_was_ready(bench: Bench) -> None:
    theirs = bench.claim(PLAN, 0, OTHER)
    assert 0 <= theirs.waited_seconds == theirs.open_seconds < 5
    bench.housekeeping.end_holder(OTHER)
    mine = bench.claim(PLAN, 0)
    assert mine.waited_seconds == 0
    assert mine.open_seconds >= theirs.open_seconds


def test_a_timer_of_nothing_is_forgotten(bench: Bench) -> None:
    bench.retry(PLAN, 0, bench.claim(PLAN, 0).token)
    woken = bench.wake(0)
    bench.settle(PLAN, 0, bench.claim(PLAN, 0, token=woken.token).token)
    assert bench.wake(0).word is Word.SETTLED


def test_a_deadline_is_a_timer_of_the_run_and_every_claim_hears_of_it(bench: Bench) -> None:
    bench.admit(PLAN, "r2", deadline_seconds=FAR_SECONDS)
    bench.admit(PLAN, "r2", deadline_seconds=1.0)
    [(key, due)] = bench.housekeeping.timers(1e12, 10)
    assert key == NodeKey("r2", RUN_DEADLINE)
    assert due - bench.housekeeping.time() == pytest.approx(FAR_SECONDS, abs=5.0)
    assert bench.claim(PLAN, 0, run_id="r2").left_seconds == pytest.approx(FAR_SECONDS, abs=5.0)
    assert bench.claim(PLAN, 0).left_seconds is None
