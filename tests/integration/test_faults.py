"""Processes and servers die in the middle of runs; the runs end all the same, and each node is recorded once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from taskmesh import NodeState, Run, RunFailedError, RunState
from taskmesh.errors import UnavailableError
from tests.harness.rabbitmq import RabbitServer
from tests.harness.redis import RedisServer
from tests.integration import engine_app as app
from tests.integration.mesh_bench import MeshBench, kill9

PATIENCE_SECONDS = 90.0
EXECUTOR, IO_PROCESS = "taskmesh.worker.executors.main", "taskmesh.app.io_process"


def _all_succeed(bench: MeshBench, count: int) -> list[str]:
    runs = bench.mesh.submit_many(app.slow_chain, [{"seconds": 0.05} for _ in range(count)])
    return [run.id for run in runs]


def _assert_ended(bench: MeshBench, run_ids: list[str]) -> None:
    for run_id in run_ids:
        run = bench.mesh.run(run_id)
        assert run.wait(timeout=PATIENCE_SECONDS) is RunState.SUCCEEDED
        assert all(node.status is NodeState.SUCCEEDED for node in run.details().nodes)


def _wait_for_work(bench: MeshBench, worker_effects: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(bench.effects("woke")) < worker_effects:
        assert time.monotonic() < deadline, "the workers did nothing"
        time.sleep(0.02)


def _submit_once_it_works(bench: MeshBench) -> Run:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return bench.mesh.submit(app.echo, id="once", value=1)
        except UnavailableError:
            assert time.monotonic() < deadline, "the store did not come back"
            time.sleep(0.1)


def test_kill_9_of_a_worker(bench: MeshBench) -> None:
    doomed, _ = bench.worker(), bench.worker()
    run_ids = _all_succeed(bench, 20)
    _wait_for_work(bench, 20)
    doomed.process.kill9()
    _assert_ended(bench, run_ids)


@pytest.mark.parametrize("module", [EXECUTOR, IO_PROCESS])
def test_kill_9_of_a_part_of_a_worker(bench: MeshBench, module: str) -> None:
    worker = bench.worker()
    run_ids = _all_succeed(bench, 10)
    _wait_for_work(bench, 10)
    kill9(worker.children(module)[0])
    _assert_ended(bench, run_ids)
    assert worker.process.running


def test_a_task_that_kills_its_executor_is_tried_again(bench: MeshBench, tmp_path: Path) -> None:
    worker = bench.worker()
    run = bench.mesh.submit(app.die_once, marker=str(tmp_path / "died"))
    assert run.result(timeout=PATIENCE_SECONDS) == "survived"
    assert run.details().nodes[0].attempts == 2
    worker.process.wait_for(lambda: worker.metric("executor_deaths_total") == 1, "the figure of one death")


def test_a_task_that_always_kills_its_executor_is_given_up(bench: MeshBench) -> None:
    bench.worker()
    poison = bench.mesh.submit(app.die_always)
    healthy = bench.mesh.submit_many(app.echo, [{"value": number} for number in range(20)])
    with pytest.raises(RunFailedError, match="its executor was lost 3 times"):
        poison.result(timeout=PATIENCE_SECONDS)
    assert [run.result(timeout=PATIENCE_SECONDS) for run in healthy] == list(range(20))


def test_kill_9_of_rabbitmq(frail_bench: MeshBench, rabbitmq: RabbitServer) -> None:
    frail_bench.worker(), frail_bench.worker()
    run_ids = _all_succeed(frail_bench, 10)
    _wait_for_work(frail_bench, 10)
    rabbitmq.settle()
    rabbitmq.kill9()
    rabbitmq.start()
    _assert_ended(frail_bench, run_ids)


def test_rabbitmq_forgets_everything(frail_bench: MeshBench, rabbitmq: RabbitServer) -> None:
    worker = frail_bench.worker()
    run_ids = _all_succeed(frail_bench, 10)
    _wait_for_work(frail_bench, 10)
    rabbitmq.wipe()
    _assert_ended(frail_bench, run_ids)
    assert worker.process.running


def test_kill_9_of_redis(frail_bench: MeshBench, redis_server: RedisServer) -> None:
    frail_bench.worker()
    run_ids = _all_succeed(frail_bench, 10)
    _wait_for_work(frail_bench, 10)
    redis_server.kill9()
    redis_server.start()
    _assert_ended(frail_bench, run_ids)


def test_a_lost_broker_does_not_block_a_submit_or_lose_the_run(frail_bench: MeshBench, rabbitmq: RabbitServer) -> None:
    frail_bench.worker()
    frail_bench.mesh.submit(app.echo, value=0).result(timeout=PATIENCE_SECONDS)
    rabbitmq.settle()
    rabbitmq.kill9()
    try:
        begun = time.monotonic()
        run = frail_bench.mesh.submit(app.echo, value=1)
        assert time.monotonic() - begun < 5.0
    finally:
        rabbitmq.start()
    assert run.result(timeout=PATIENCE_SECONDS) == 1


def test_a_lost_store_is_told_and_a_second_submit_is_the_same_run(
    frail_bench: MeshBench, redis_server: RedisServer
) -> None:
    frail_bench.worker()
    redis_server.kill9()
    try:
        with pytest.raises(UnavailableError, match="Redis does not answer"):
            frail_bench.mesh.submit(app.echo, id="once", value=1)
        for _ in range(10):
            with pytest.raises(UnavailableError):
                frail_bench.mesh.submit(app.echo, id="once", value=1)
        with pytest.raises(UnavailableError, match="5 times in a row"):
            frail_bench.mesh.submit(app.echo, id="once", value=1)
    finally:
        redis_server.start()
    run = _submit_once_it_works(frail_bench)
    assert run.result(timeout=PATIENCE_SECONDS) == 1
    assert set(frail_bench.times_run().values()) == {1}


def test_a_waiting_caller_outlives_a_restart_of_redis(frail_bench: MeshBench, redis_server: RedisServer) -> None:
    frail_bench.worker()
    run = frail_bench.mesh.submit(app.slow_chain, seconds=0.3)
    with ThreadPoolExecutor(1) as threads:
        result = threads.submit(run.result, timeout=PATIENCE_SECONDS)
        _wait_for_work(frail_bench, 2)
        redis_server.kill9()
        redis_server.start()
        assert result.result(timeout=PATIENCE_SECONDS) == 0.3
