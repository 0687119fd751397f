"""A node that takes down what runs it ends in a visible state, and its retries are counted apart."""

from __future__ import annotations

import asyncio

import pytest

from taskmesh.app.local_worker import LocalWorker
from taskmesh.config.loader import load_settings
from taskmesh.dispatch.plan import Plan
from taskmesh.errors import UsageError
from taskmesh.model.flow import Node
from taskmesh.model.policies import RetryPolicy, Wait
from taskmesh.wire import unpack
from taskmesh.worker.channels.protocol import Failure
from taskmesh.worker.executors import memory_cap
from tests.contract.store_bench import OTHER, plan_of
from tests.unit.engine_bench import MAX_LOSSES, EngineBench, single

RETRIED = plan_of(Node("only", "t", retry=RetryPolicy(max_attempts=3, wait=Wait.FIXED, base_seconds=0.001)))


def _error(bench: EngineBench) -> tuple[str, str]:
    error = unpack(bench.side.record().errors[0])
    return error["type"], error["message"]


async def _end(bench: EngineBench, plan: Plan, *ends: str) -> None:
    """Have the attempts of a run of one node end so, one after the other."""
    bench.pool.runs_at_once = False
    bench.submit(plan)
    for end in ends:
        await bench.until(lambda: len(bench.pool.works) == 1)
        [work_id] = bench.pool.works
        if end == "crash":
            bench.pool.works.clear()
            bench.engine.on_lost([work_id], [], "it died")
        else:
            bench.pool.finish(work_id, Failure("ValueError", "no", "", ("ValueError",)) if end == "failure" else None)
    await bench.until(lambda: bench.is_idle and not bench.pool.works)


@pytest.mark.parametrize(
    ("ends", "status", "kind"),
    [
        (("crash", "crash", "success"), "succeeded", ""),
        (("crash", "crash", "crash"), "failed", "ExecutorLost"),
        (("failure", "failure", "success"), "succeeded", ""),
        (("crash", "failure", "crash", "failure", "success"), "succeeded", ""),
        (("crash", "failure", "crash", "failure", "failure"), "failed", "ValueError"),
        (("failure", "crash", "failure", "crash", "crash"), "failed", "ExecutorLost"),
    ],
)
def test_crashes_and_failures_are_counted_apart(
    valkey_url: str, namespace: str, ends: tuple[str, ...], status: str, kind: str
) -> None:
    async def play() -> None:
        bench = EngineBench(valkey_url, namespace)
        try:
            await _end(bench, RETRIED, *ends)
            await bench.until(lambda: bench.status() == status)
            if kind:
                assert _error(bench)[0] == kind
            assert bench.side.record().nodes[0].attempt == len(ends)
        finally:
            bench.close()

    asyncio.run(play())


@pytest.mark.parametrize("losses", [MAX_LOSSES - 1, MAX_LOSSES])
def test_a_node_that_has_taken_down_whole_workers_is_not_run_any_more(
    valkey_url: str, namespace: str, losses: int
) -> None:
    async def play() -> None:
        bench = EngineBench(valkey_url, namespace)
        try:
            body = bench.submit(single(), deliver=False)[0]
            for _ in range(losses):
                bench.side.claim(single(), 0, OTHER, token=0)
                bench.side.housekeeping.end_holder(OTHER)
                bench.side.redrive(0)
            bench.broker.deliver(body)
            await bench.until(lambda: bench.is_idle)
            poisoned = losses == MAX_LOSSES
            assert sum(bench.pool.times.values()) == (not poisoned)
            assert bench.status() == ("failed" if poisoned else "succeeded")
            if poisoned:
                assert _error(bench) == ("Poisoned", "3 workers died while they had it; it is not run any more")
        finally:
            bench.close()

    asyncio.run(play())


def test_a_worker_inside_a_process_refuses_a_limit_of_memory() -> None:
    from taskmesh.app.assembly import lay_foundation
    from taskmesh.tasks.registry import Registry

    settings = load_settings({"worker": {"executor_memory_mb": 100}}, environ={})
    foundation = lay_foundation(settings)
    try:
        with pytest.raises(UsageError, match="executor_memory_mb"):
            LocalWorker(foundation, Registry(), 1)
    finally:
        foundation.close()


def test_a_limit_of_memory_is_refused_where_no_kernel_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    memory_cap.refuse_where_unkept(100)
    monkeypatch.setattr("sys.platform", "darwin")
    memory_cap.refuse_where_unkept(0)
    with pytest.raises(UsageError, match="Linux"):
        memory_cap.refuse_where_unkept(100)
