"""The engine when the store, a run, a message or an executor is bad: nothing is lost, run twice or left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from taskmesh.model.flow import Flow, Node
from taskmesh.model.subflows import Subflow
from taskmesh.store.link import Command
from tests.contract.store_bench import ME, diamond, plan_of
from tests.unit.engine_bench import EngineBench, run_two_flows, single

Test = Callable[[EngineBench], Awaitable[None]]


@pytest.mark.parametrize("phase", ["request", "reply"])
def test_any_lost_call_delays_and_changes_nothing(valkey_url: str, namespace: str, phase: str) -> None:
    """Each call of the run is lost in turn, first alone and then with the next."""

    async def play_with(number: int, width: int) -> int:
        bench = EngineBench(valkey_url, f"{namespace}.{phase}.{number}.{width}")
        bench.link.lost = {(number + each, phase) for each in range(width)}
        try:
            await run_two_flows(bench)
            assert (bench.status("r1"), bench.status("r2")) == ("succeeded", "succeeded")
            assert sum(bench.pool.times.values()) == 6
            assert bench.side.outbox() == set()
            assert bench.side.housekeeping.probes("default") == {"ns.default.0": 5.0}
            return bench.link.calls
        finally:
            bench.close()

    calls = asyncio.run(play_with(0, 0))
    for width in (1, 2):
        for number in range(1, calls + 1):
            asyncio.run(play_with(number, width))


@pytest.mark.parametrize("call", range(1, 13))
def test_who_cannot_read_what_one_child_needs_takes_the_others_up_once(
    play: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """Both were claimed in one batch, and each reads for itself what it needs."""
    monkeypatch.setattr("taskmesh.worker.engine.intake.FIELDS_PER_CLAIM", 1)
    inner = Subflow(inline=Flow("inner", "1", (Node("x", "t"),)))

    async def test(bench: EngineBench) -> None:
        bench.link.lost = {(call, "request")}
        bench.submit(plan_of(Node("a", "", step=inner), Node("b", "", step=inner)))
        await bench.until(lambda: bench.is_idle and bench.status() == "succeeded")
        assert sum(bench.pool.times.values()) == 2

    play(test)


def test_one_damaged_run_does_not_stop_the_others(play: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        bad = bench.submit(single(), "bad", deliver=False)
        key = bench.keys.run("bad")
        bench.side.link.exchange([Command(key, "SET", key, "not a hash")])
        bench.broker.deliver(bad[0])
        bench.submit(diamond(), "r1")
        await bench.until(lambda: bench.is_idle)
        assert bench.status("r1") == "succeeded"
        [letter] = bench.broker.direct
        assert letter.queue == "ns.default.dead"
        assert "'bad' is damaged in the store" in letter.headers["taskmesh-detail"]

    play(test)


def test_a_run_that_is_damaged_while_it_runs_does_not_stop_the_others(play: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        bench.pool.runs_at_once = False
        bench.submit(single(), "bad")
        bench.submit(single(), "r1")
        await bench.until(lambda: len(bench.pool.works) == 2)
        key = bench.keys.run("bad")
        bench.side.link.exchange([Command(key, "HSET", key, "node:0", "\xc1")])
        bench.pool.finish_all()
        await bench.until(lambda: bench.is_idle)
        assert bench.status("r1") == "succeeded"

    play(test)


def test_arguments_that_cannot_be_made_fail_their_node_alone(play: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        bench.submit(plan_of(Node("only", "t", args={"x": "${nodes.nobody.output}"})), "bad")
        bench.submit(diamond(), "r1")
        await bench.until(lambda: bench.is_idle)
        assert (bench.status("bad"), bench.status("r1")) == ("failed", "succeeded")

    play(test)


def test_an_unexpected_error_leaves_nothing_half_asked(play: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        bench.pool.faults.append(RuntimeError("a bug"))
        await run_two_flows(bench)
        assert (bench.status("r1"), bench.status("r2")) == ("succeeded", "succeeded")

    play(test)


def test_an_unreadable_message_is_buried_and_acked(play: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        bench.broker.deliver(b"\xc1")
        bench.submit(single())
        await bench.until(lambda: bench.is_idle)
        assert bench.status() == "succeeded"
        [letter] = bench.broker.direct
        assert letter.body == b"\xc1"
        assert letter.headers["taskmesh-reason"] == "undecodable"
        assert (letter.headers["taskmesh-queue"], letter.headers["taskmesh-worker"]) == ("ns.default.0", ME)

    play(test)


def test_a_lost_executor_uses_up_attempts_until_the_last(play: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        bench.pool.runs_at_once = False
        bench.submit(single())
        for attempt in (1, 2, 3):
            await bench.until(lambda: len(bench.pool.works) == 1)
            [(work_id, work)] = bench.pool.works.items()
            assert work.context[2] == attempt
            bench.pool.works.clear()
            bench.engine.on_lost([work_id], [], "it was killed")
        await bench.until(lambda: bench.is_idle)
        assert bench.status() == "failed"

    play(test)


def test_what_never_started_has_used_up_nothing(play: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        bench.pool.runs_at_once = False
        bench.submit(single())
        for _ in range(5):
            await bench.until(lambda: len(bench.pool.works) == 1)
            [(work_id, work)] = bench.pool.works.items()
            assert work.context[2] == 1
            bench.pool.works.clear()
            bench.engine.on_lost([], [work_id], "it was killed")
        await bench.until(lambda: len(bench.pool.works) == 1)

    play(test)


def test_leaving_is_not_a_crash_and_what_comes_late_goes_back(play: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        bench.pool.runs_at_once = False
        bench.submit(single())
        await bench.until(lambda: len(bench.pool.works) == 1)
        [work_id] = bench.pool.works
        bench.engine.stop_taking()
        late = bench.broker.deliver(b"whatever")
        assert bench.broker.requeued == [late]
        bench.engine.on_lost([work_id], [], "the worker stopped")
        await bench.until(lambda: not bench.engine.unsettled)
        assert bench.side.record().nodes[0].attempt == 0

    play(test)
