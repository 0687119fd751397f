"""A long task holds no message of the broker's, and still nothing of it is lost."""

from __future__ import annotations

import time

from taskmesh import RunState
from tests.harness.rabbitmq import RabbitServer
from tests.integration import engine_app as app
from tests.integration.mesh_bench import MeshBench

PATIENCE_SECONDS = 90.0
EARLY = {"TASKMESH_WORKER__EARLY_ACK_SECONDS": "0.2"}
LONG_SECONDS = 8.0
HOURS_SECONDS = 60.0
"""Longer than the test takes."""


def _unacked(rabbitmq: RabbitServer) -> int:
    rows = rabbitmq.ctl("-q", "list_queues", "messages_unacknowledged", "--no-table-headers").split()
    return sum(map(int, rows))


def _await_start(bench: MeshBench, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(bench.effects("nap")) < count:
        assert time.monotonic() < deadline, "the tasks did not begin"
        time.sleep(0.02)


def test_a_long_task_outlives_the_broker_unacked_and_runs_once(frail_bench: MeshBench, rabbitmq: RabbitServer) -> None:
    worker = frail_bench.worker(env=EARLY)
    run = frail_bench.mesh.submit(app.nap, seconds=LONG_SECONDS)
    _await_start(frail_bench, 1)
    rabbitmq.settle()
    worker.process.wait_for(lambda: _unacked(rabbitmq) == 0, "the early ack", LONG_SECONDS)
    assert run.status() is RunState.RUNNING
    rabbitmq.kill9()
    rabbitmq.start()
    assert run.result(timeout=PATIENCE_SECONDS) == LONG_SECONDS
    assert set(frail_bench.times_run("nap").values()) == {1}


def test_a_long_task_that_was_acked_is_taken_over_from_a_killed_worker(
    frail_bench: MeshBench, rabbitmq: RabbitServer
) -> None:
    doomed = frail_bench.worker(env=EARLY)
    run = frail_bench.mesh.submit(app.nap, seconds=LONG_SECONDS)
    _await_start(frail_bench, 1)
    doomed.process.wait_for(lambda: _unacked(rabbitmq) == 0, "the early ack", LONG_SECONDS)
    doomed.process.kill9()
    frail_bench.worker(env=EARLY)
    assert run.result(timeout=PATIENCE_SECONDS) == LONG_SECONDS
    assert len(frail_bench.effects("nap")) == 2


def test_a_worker_full_of_long_tasks_leaves_the_rest_to_others(bench: MeshBench) -> None:
    bench.worker("--processes", "1", env=EARLY)
    long = bench.mesh.submit(app.nap, seconds=HOURS_SECONDS)
    _await_start(bench, 1)
    waiting = [bench.mesh.submit(app.echo, value=number) for number in range(20)]
    bench.worker("--processes", "1", env=EARLY)
    assert [run.result(timeout=HOURS_SECONDS) for run in waiting] == list(range(20))
    assert long.status() is RunState.RUNNING
