"""A holder says what it still has; what the store has forgotten the end of is run again."""

from __future__ import annotations

import asyncio

import pytest

from taskmesh.model.states import NodeState
from taskmesh.store.calls import NodeKey, Question
from taskmesh.worker.engine.answering import Answering
from tests.contract.store_bench import ME, OTHER
from tests.unit.engine_bench import EngineBench, single

NODE = NodeKey("r1", 0)


async def _ask(bench: EngineBench) -> None:
    """As the keeper does for a node that has been running for long."""
    token = bench.side.record().nodes[0].token
    bench.side.housekeeping.ask_holders([Question(ME, NODE, token, "default")])
    await Answering(bench.parts, bench.side.housekeeping, bench.engine, ME).run_pass()


def _state(bench: EngineBench) -> tuple[NodeState, int]:
    record = bench.side.record().nodes[0]
    return record.state, record.attempt


def test_a_node_whose_end_the_store_has_lost_runs_again_at_once(valkey_url: str, namespace: str) -> None:
    async def scenario() -> None:
        bench = EngineBench(valkey_url, namespace)
        bench.side.admit(single())
        bench.side.claim(single(), 0, ME)
        await _ask(bench)
        await bench.until(lambda: bench.status() == "succeeded")
        # Its first attempt was given back as none.
        assert _state(bench) == (NodeState.SUCCEEDED, 1)
        assert bench.pool.times.total() == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("fails", [False, True])
def test_a_node_that_runs_or_whose_end_is_on_its_way_stays(valkey_url: str, namespace: str, fails: bool) -> None:
    async def scenario() -> None:
        bench = EngineBench(valkey_url, namespace)
        bench.pool.runs_at_once = False
        bench.submit(single())
        await bench.until(lambda: bool(bench.pool.works))
        await _ask(bench)
        assert _state(bench) == (NodeState.RUNNING, 1)
        if fails:
            bench.link.lost = {(bench.link.calls + 1, "request")}
        bench.pool.finish_all()
        await _ask(bench)
        assert _state(bench)[1] == 1
        await bench.until(lambda: bench.is_idle)
        assert bench.status() == "succeeded"
        assert bench.pool.times.total() == 1

    asyncio.run(scenario())


def test_a_node_that_another_holder_has_by_now_stays_there(valkey_url: str, namespace: str) -> None:
    async def scenario() -> None:
        bench = EngineBench(valkey_url, namespace)
        bench.side.admit(single())
        mine = bench.side.claim(single(), 0, ME)
        bench.side.housekeeping.ask_holders([Question(ME, NODE, mine.token, "default")])
        bench.side.housekeeping.end_holder(ME)
        bench.side.claim(single(), 0, OTHER, token=mine.token)
        await Answering(bench.parts, bench.side.housekeeping, bench.engine, ME).run_pass()
        assert _state(bench) == (NodeState.RUNNING, 2)

    asyncio.run(scenario())
