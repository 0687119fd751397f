"""How an engine treats nodes behind circuit breakers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from taskmesh.clock import SystemClock
from taskmesh.dispatch.plan import Plan
from taskmesh.model.breakers import BreakerRules, BreakerState, Guard
from taskmesh.model.flow import Node
from taskmesh.model.policies import RetryPolicy, TimeLimits, Wait
from taskmesh.model.states import NodeState
from taskmesh.store.breakers import Breakers, Consultation, breakers_of
from taskmesh.worker.channels.protocol import Failure
from taskmesh.worker.engine import breakers as board
from tests.contract.store_bench import OTHER, plan_of
from tests.unit.engine_bench import EngineBench

Test = Callable[[EngineBench], Awaitable[None]]

RULES = BreakerRules("payments", failures=2, reset_seconds=0.4, ramp_seconds=0.2, exclude=("ValueError",))
REFUSED = Failure("ConnectionError", "refused", "", ("builtins.ConnectionError", "builtins.OSError"))
ANSWERED = Failure("ValueError", "no such card", "", ("builtins.ValueError",))


@pytest.fixture(autouse=True)
def _spread_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe lets the rest come back soon."""
    monkeypatch.setattr(board, "LEAST_SPREAD_SECONDS", 0.1)


def guarded(fallback: str = "", rules: BreakerRules = RULES, **policies: Any) -> Plan:
    return plan_of(Node("only", "t", guard=Guard(rules, fallback), **policies))


def breakers(bench: EngineBench) -> Breakers:
    return breakers_of(bench.side.store)


def state(bench: EngineBench) -> BreakerState | None:
    [breaker] = breakers(bench).read(["payments"])
    return breaker and breaker.state


async def run_one(bench: EngineBench, run_id: str, failure: Failure | None = None, plan: Plan | None = None) -> None:
    bench.submit(plan or guarded(), run_id)
    await bench.until(lambda: len(bench.pool.works) == 1)
    bench.pool.finish(next(iter(bench.pool.works)), failure)
    await bench.until(lambda: bench.is_idle)


async def open_it(bench: EngineBench) -> None:
    await run_one(bench, "first", REFUSED)
    await run_one(bench, "second", REFUSED)
    await bench.until(lambda: state(bench) is BreakerState.OPEN)
    await asyncio.sleep(0)


def node(bench: EngineBench, run_id: str) -> Any:
    return bench.side.record(run_id).nodes[0]


def test_a_node_waits_behind_an_open_breaker_and_uses_no_attempt_up(play_by_hand: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        await open_it(bench)
        bench.submit(guarded(), "waiting")
        await bench.until(lambda: bench.is_idle)
        waits = node(bench, "waiting")
        assert (waits.state, waits.attempt, waits.cause) == (NodeState.RETRYING, 0, "breaker:payments")
        assert waits.ready_at <= SystemClock().now() + RULES.reset_seconds
        assert 0 not in bench.side.record("waiting").errors
        await bench.until(lambda: len(bench.pool.works) == 1)
        bench.pool.finish_all()
        await bench.until(lambda: bench.status("waiting") == "succeeded")
        ended = node(bench, "waiting")
        assert (ended.attempt, ended.retries, ended.cause) == (1, 0, "")
        await bench.until(lambda: state(bench) is BreakerState.CLOSED)

    play_by_hand(test)


def test_one_of_many_tries_and_the_others_wait_until_it_has_ended(play_by_hand: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        await open_it(bench)
        for number in range(20):
            bench.submit(guarded(), f"r{number}")
        await bench.until(lambda: len(bench.pool.works) == 1)
        await asyncio.sleep(0.6)
        assert len(bench.pool.works) == 1
        assert state(bench) is BreakerState.HALF_OPEN
        bench.pool.runs_at_once = True
        bench.pool.finish_all()
        await bench.until(lambda: all(bench.status(f"r{number}") == "succeeded" for number in range(20)))
        assert {node(bench, f"r{number}").attempt for number in range(20)} == {1}

    play_by_hand(test)


def test_a_probe_that_fails_opens_it_again(play_by_hand: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        await open_it(bench)
        await run_one(bench, "probe", REFUSED)
        await bench.until(lambda: state(bench) is BreakerState.OPEN)
        [breaker] = breakers(bench).read(["payments"])
        assert breaker is not None
        assert breaker.opens == 2

    play_by_hand(test)


def test_a_probe_that_fails_comes_again_when_the_breaker_may_be_tried(play_by_hand: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        await open_it(bench)
        bench.submit(guarded(retry=RetryPolicy(5, Wait.FIXED, base_seconds=0.01)), "probe")
        await bench.until(lambda: len(bench.pool.works) == 1)
        bench.pool.finish(next(iter(bench.pool.works)), REFUSED)
        await bench.until(lambda: bench.is_idle)
        waits = node(bench, "probe")
        assert waits.attempt == 1
        assert 0.9 * RULES.reset_seconds < waits.ready_at - waits.started_at < RULES.reset_seconds + 1.0

    play_by_hand(test)


def test_a_probe_that_is_handed_back_leaves_the_try_to_others(play_by_hand: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        await open_it(bench)
        bench.submit(guarded(), "probe")
        await bench.until(lambda: len(bench.pool.works) == 1)
        bench.engine.stop_taking()
        bench.engine.release_all()
        await bench.until(lambda: state(bench) is BreakerState.OPEN)
        [answer] = breakers(bench).consult([Consultation(RULES, probe="theirs")], OTHER)
        assert answer.granted

    play_by_hand(test)


def test_the_fallback_runs_in_its_place(play_by_hand: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        bench.pool.tasks = frozenset({"t", "instead"})
        await open_it(bench)
        bench.submit(guarded("instead"), "r")
        await bench.until(lambda: len(bench.pool.works) == 1)
        [work] = bench.pool.works.values()
        assert work.task == "instead"
        bench.pool.finish_all()
        await bench.until(lambda: bench.is_idle)
        assert (bench.status("r"), node(bench, "r").cause) == ("succeeded", "fallback")
        assert state(bench) is BreakerState.OPEN, "what the fallback did says nothing of the dependency"

    play_by_hand(test)


@pytest.mark.parametrize(
    "failure", [ANSWERED, Failure("Retry", "busy", "", ("taskmesh.model.policies.Retry",), True, 0.0)]
)
def test_an_answer_and_a_wish_to_be_tried_again_are_no_failures(
    play_by_hand: Callable[[Test], None], failure: Failure
) -> None:
    async def test(bench: EngineBench) -> None:
        plan = guarded(retry=RetryPolicy(1))
        for number in range(4):
            await run_one(bench, f"r{number}", failure, plan)
        await asyncio.sleep(board.LOOK_SECONDS * 2)
        assert state(bench) is BreakerState.CLOSED

    play_by_hand(test)


def test_a_timeout_counts(play_by_hand: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        for number in range(2):
            bench.submit(guarded(limits=TimeLimits(start_to_close=0.05)), f"r{number}")
            await bench.until(lambda: len(bench.pool.works) == 1)
            bench.engine.on_started(next(iter(bench.pool.works)))
            await bench.until(lambda: bench.is_idle)
        await bench.until(lambda: state(bench) is BreakerState.OPEN)

    play_by_hand(test)


def test_the_next_attempt_comes_no_sooner_than_the_breaker_may_be_tried(play_by_hand: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        plan = guarded(retry=RetryPolicy(5, Wait.FIXED, base_seconds=0.01))
        bench.submit(plan, "r")
        await bench.until(lambda: len(bench.pool.works) == 1)
        await open_it_beside(bench)
        bench.pool.finish(next(iter(bench.pool.works)), REFUSED)
        await bench.until(lambda: bench.is_idle)
        waits = node(bench, "r")
        assert (waits.state, waits.attempt) == (NodeState.RETRYING, 1)
        assert waits.ready_at - waits.started_at >= 0.3

    play_by_hand(test)


async def open_it_beside(bench: EngineBench) -> None:
    breakers(bench).consult([Consultation(RULES, 1, "ff")], OTHER)
    await asyncio.sleep(board.LOOK_SECONDS * 1.5)
    breakers(bench).set("payments", BreakerState.OPEN, 0.4)
    await asyncio.sleep(board.LOOK_SECONDS * 1.2)


def test_its_time_limit_ends_a_node_that_waits(play_by_hand: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        await open_it(bench)
        breakers(bench).set("payments", BreakerState.OPEN, 3600.0)
        await asyncio.sleep(board.LOOK_SECONDS * 2)
        bench.submit(guarded(limits=TimeLimits(schedule_to_close=0.3)), "r")
        await bench.until(lambda: bench.status("r") == "failed")
        assert b"ScheduleToCloseTimeout" in bench.side.record("r").errors[0]

    play_by_hand(test)


def test_a_cancelled_run_does_not_wait_for_the_breaker(play_by_hand: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        await open_it(bench)
        breakers(bench).set("payments", BreakerState.OPEN, 3600.0)
        await asyncio.sleep(board.LOOK_SECONDS * 2)
        bench.submit(guarded(), "r")
        await bench.until(lambda: bench.is_idle)
        bench.side.halt("r", "cancelled")
        woken = bench.side.store.wake_nodes([(_key("r"), "default")])
        assert woken[0].word == "woken"

    play_by_hand(test)


def _key(run_id: str) -> Any:
    from taskmesh.store.calls import NodeKey

    return NodeKey(run_id, 0)


def test_a_closed_breaker_asks_the_store_nothing_before_a_node_runs(
    play_by_hand: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "LOOK_SECONDS", 60.0)
    monkeypatch.setattr(board, "STALE_SECONDS", 60.0)

    async def test(bench: EngineBench) -> None:
        await run_one(bench, "warm")
        await run_one(bench, "warm, too", plan=plan_of(Node("only", "t")))
        plain = await _calls_of(bench, plan_of(Node("only", "t")), "plain")
        assert await _calls_of(bench, guarded(), "guarded") == plain

    play_by_hand(test)


async def _calls_of(bench: EngineBench, plan: Plan, run_id: str) -> int:
    """How often the store is asked between a message and the work that is made of it."""
    bench.submit(plan, run_id + " before", deliver=False)
    [body] = bench.submit(plan, run_id, deliver=False)
    before = bench.link.calls
    bench.broker.deliver(body)
    while not bench.pool.works:
        await asyncio.sleep(0)
    calls = bench.link.calls - before
    bench.pool.finish_all()
    await bench.until(lambda: bench.is_idle)
    return calls


def test_outcomes_are_told_in_batches_and_once_though_a_reply_is_lost(play_by_hand: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        bench.pool.runs_at_once = True
        for number in range(8):
            bench.submit(guarded(rules=RATED), f"r{number}")
        await bench.until(lambda: bench.is_idle)
        bench.link.lost = {(bench.link.calls + 1, "reply")}
        await asyncio.sleep(board.LOOK_SECONDS * 4)
        [breaker] = breakers(bench).read(["rated"])
        assert breaker is not None
        assert (breaker.calls, breaker.failed_calls) == (8, 0)

    play_by_hand(test)


RATED = BreakerRules("rated", failure_rate=0.5)
