"""The engine's turn: nothing is lost, run twice or left behind when the store, a run or an executor is bad."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from taskmesh.dispatch.dispatcher import Ready, outgoing
from taskmesh.dispatch.plan import Plan
from taskmesh.model.flow import Flow, Node, OnFailure
from taskmesh.store.calls import Word
from taskmesh.worker.channels.protocol import Failure
from taskmesh.worker.engine import settling
from tests.contract.store_bench import ME, OTHER, diamond
from tests.unit.engine_bench import EngineBench, run_two_flows, single

Test = Callable[[EngineBench], Awaitable[None]]


def test_a_run_ends_with_everything_acked(play: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        await run_two_flows(bench)
        assert (bench.status("r1"), bench.status("r2")) == ("succeeded", "succeeded")
        assert set(bench.pool.times.values()) == {1}
        assert bench.side.housekeeping.probes("default") == {"ns.default.0": 5.0}

    play(test)


def test_nothing_is_acked_before_what_follows_is_confirmed(play: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        bench.broker.confirms = False
        bench.submit(diamond())
        await bench.until(lambda: len(bench.broker.published) == 2)
        await bench.turn()
        assert bench.broker.acked == []
        bench.broker.confirm()
        await bench.until(lambda: len(bench.broker.acked) == 1)

    play(test)


def test_nothing_is_acked_before_it_is_settled(play: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        bench.pool.runs_at_once = False
        bench.submit(single())
        await bench.until(lambda: len(bench.pool.works) == 1)
        bench.link.lost = {(bench.link.calls + each, "request") for each in (1, 2)}
        bench.pool.finish_all()
        await bench.turn()
        assert (bench.broker.acked, bench.engine.unsettled) == ([], 1)
        await bench.until(lambda: bench.is_idle)
        assert bench.status() == "succeeded"

    play(test)


def test_a_copy_of_a_message_is_acked_with_it_and_runs_nothing(play: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        bench.pool.runs_at_once = False
        [body] = bench.submit(single())
        await bench.until(lambda: len(bench.pool.works) == 1)
        bench.broker.deliver(body, redelivered=True)
        await bench.turn()
        assert bench.broker.acked == []
        bench.pool.finish_all()
        await bench.until(lambda: bench.is_idle)
        assert bench.pool.times.total() == 1
        assert len(bench.broker.acked) == 2

    play(test)


def test_a_node_that_was_given_away_meanwhile_is_run_again_not_forgotten(play: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        bench.pool.runs_at_once = False
        [body] = bench.submit(single())
        await bench.until(lambda: len(bench.pool.works) == 1)
        bench.side.housekeeping.end_holder(ME)
        redriven = bench.side.redrive(0)
        bench.side.housekeeping.renew_holder(ME, 30.0)
        body = _with_token(single(), redriven.token)
        bench.broker.deliver(body)
        await bench.turn()
        bench.pool.finish_all()
        await bench.until(lambda: len(bench.pool.works) == 1)
        assert bench.status() == "running"
        bench.pool.finish_all()
        await bench.until(lambda: bench.is_idle)
        assert bench.status() == "succeeded"

    play(test)


def _with_token(plan: Plan, token: int) -> bytes:
    return outgoing(Ready(plan, "r1", 0, "r1", 0, token)).body


def test_what_a_living_holder_runs_waits_only_when_it_was_delivered_before(play: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        [body] = bench.submit(single(), deliver=False)
        assert bench.side.claim(single(), 0, OTHER).word is Word.CLAIMED
        bench.broker.deliver(body)
        await bench.until(lambda: len(bench.broker.acked) == 1)
        bench.broker.deliver(body, redelivered=True)
        await bench.turn()
        bench.broker.deliver(body, redelivered=True)
        await bench.turn()
        assert len(bench.broker.unacked) == 2
        bench.side.housekeeping.end_holder(OTHER)
        await bench.until(lambda: bench.is_idle)
        assert (bench.status(), bench.pool.times.total()) == ("succeeded", 1)

    play(test)


def test_a_claim_on_its_way_is_seen_by_who_drains(play: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        bench.submit(single())
        await asyncio.sleep(0)
        assert bench.engine.claiming
        bench.engine.stop_taking()
        await bench.until(lambda: bench.is_idle)
        assert bench.status() == "succeeded"

    play(test)


def test_surplus_gives_up_the_newest_for_which_there_is_no_room(play: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        bench.pool.runs_at_once = False
        bench.pool.window = 0
        for number in range(5):
            bench.submit(single(), f"r{number}")
        tokens = list(bench.broker.unacked)
        bench.pool.window = 2
        assert bench.engine.surplus() == [tokens[4], tokens[3], tokens[2]]

    play(test)


def test_deliveries_of_a_lost_connection_are_forgotten(play: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        bench.pool.window = 0
        [body] = bench.submit(single())
        bench.broker.generation = 2
        newest = bench.broker.deliver(body, redelivered=True)
        assert bench.engine.stop_taking() == [newest]

    play(test)


def test_the_ends_of_large_outputs_are_settled_in_small_batches(
    play: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "BYTES_PER_BATCH", 1000)

    async def test(bench: EngineBench) -> None:
        bench.pool.runs_at_once = False
        for number in range(6):
            bench.submit(single(), f"r{number}")
        await bench.until(lambda: len(bench.pool.works) == 6)
        before = bench.link.calls
        for work_id in list(bench.pool.works):
            bench.pool.finish(work_id, output="x" * 600)
        await bench.until(lambda: bench.is_idle)
        assert bench.link.calls - before == 3
        assert {bench.status(f"r{number}") for number in range(6)} == {"succeeded"}

    play(test)


@pytest.mark.parametrize(("policy", "second"), [(OnFailure.FAIL_FAST, "cancelled"), (OnFailure.CONTINUE, "succeeded")])
def test_the_policy_says_whether_more_is_started(play: Callable[[Test], None], policy: OnFailure, second: str) -> None:
    async def test(bench: EngineBench) -> None:
        bench.pool.runs_at_once = False
        bench.pool.window = 1
        bench.submit(Plan.of(Flow("flow", "1", (Node("a", "t"), Node("b", "t")), on_failure=policy)))
        await bench.until(lambda: len(bench.pool.works) == 1)
        bench.pool.runs_at_once = True
        [first] = bench.pool.works
        bench.pool.finish(first, Failure("E", "no", ""))
        await bench.until(lambda: bench.is_idle)
        assert [bench.side.record().nodes[node].state for node in (0, 1)] == ["failed", second]
        assert bench.status() == "failed"

    play(test)
