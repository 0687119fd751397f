"""SIGTERM: a worker leaves within its grace; what it did not finish another does, as the same attempt."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from taskmesh import Run, RunState
from tests.contract.broker_peers import NEW_QUEUE_SECONDS
from tests.harness.rabbitmq import RabbitServer
from tests.harness.redis import RedisServer
from tests.integration import engine_app as app
from tests.integration.mesh_bench import MeshBench, Worker

PATIENCE_SECONDS = 90.0
DRAIN_SECONDS = 1.0
MARGIN_SECONDS = 5.0
LATENESS_SECONDS = 5.0
"""What a loaded machine may add."""

LONG_SECONDS = 6.0


def _draining_worker(bench: MeshBench, seconds: float = DRAIN_SECONDS) -> Worker:
    return bench.worker(env={"TASKMESH_WORKER__DRAIN_SECONDS": str(seconds)})


def _start_long_task(bench: MeshBench, worker: Worker) -> Run:
    run = bench.mesh.submit(app.nap, seconds=LONG_SECONDS)
    worker.process.wait_for(lambda: bool(bench.effects("nap")), "a first task")
    return run


def _leave(worker: Worker) -> tuple[int, float]:
    """The exit code, and how long the worker took."""
    begun = time.monotonic()
    code = worker.process.terminate(timeout_seconds=60)
    assert "Traceback" not in worker.process.output
    return code, time.monotonic() - begun


def _assert_finished_as_the_same_attempt(run: Run) -> None:
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.SUCCEEDED
    assert [node.attempts for node in run.details().nodes] == [1]


def test_a_drain_runs_what_has_begun_and_hands_back_the_rest(bench: MeshBench) -> None:
    worker = _draining_worker(bench, seconds=30)
    runs = bench.mesh.submit_many(app.nap, [{"seconds": 1.5} for _ in range(16)])
    worker.process.wait_for(lambda: len(bench.effects("nap")) >= 2, "two tasks")
    code, seconds = _leave(worker)
    assert code == 0
    # Those that waited behind the running ones were not run to their end first.
    assert len(bench.effects("nap")) <= 6
    assert seconds < 1.5 + MARGIN_SECONDS + LATENESS_SECONDS
    assert bench.times_run("nap") == bench.times_run("woke")
    bench.worker()
    for run in runs:
        _assert_finished_as_the_same_attempt(run)
    assert set(bench.times_run("nap").values()) == {1}


def test_what_overruns_the_drain_is_handed_back_with_no_attempt_used_up(bench: MeshBench) -> None:
    worker = _draining_worker(bench)
    run = _start_long_task(bench, worker)
    events = run.watch()
    assert next(events).state == "running"
    code, seconds = _leave(worker)
    assert code == 0
    assert seconds < DRAIN_SECONDS + MARGIN_SECONDS + LATENESS_SECONDS
    released = next(events)
    assert (released.state, released.attempt, released.cause) == ("ready", 0, "released")
    bench.worker()
    _assert_finished_as_the_same_attempt(run)
    assert set(bench.times_run("nap").values()) == {2}
    assert set(bench.times_run("woke").values()) == {1}


def test_a_drain_while_the_broker_is_away(frail_bench: MeshBench, rabbitmq: RabbitServer) -> None:
    bench = frail_bench
    worker = _draining_worker(bench)
    # Killed sooner, it would not know its new queues.
    time.sleep(NEW_QUEUE_SECONDS)
    run = _start_long_task(bench, worker)
    rabbitmq.kill9()
    code, seconds = _leave(worker)
    assert code == 0, worker.process.tail()
    assert seconds < DRAIN_SECONDS + MARGIN_SECONDS + LATENESS_SECONDS
    assert run.details().nodes[0].status == "ready"
    assert "the keeper of another worker publishes them again" in worker.process.output
    rabbitmq.start()
    bench.worker()
    _assert_finished_as_the_same_attempt(run)


def test_a_drain_while_redis_is_away(frail_bench: MeshBench, redis_server: RedisServer) -> None:
    bench = frail_bench
    worker = _draining_worker(bench)
    run = _start_long_task(bench, worker)
    redis_server.kill9()
    code, seconds = _leave(worker)
    assert code == 1
    assert seconds < DRAIN_SECONDS + MARGIN_SECONDS + LATENESS_SECONDS
    assert "the store did not take the ends or hand-backs of 1 nodes" in worker.process.output
    redis_server.start()
    bench.worker()
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.SUCCEEDED


@pytest.fixture
def silent_redis(redis_server: RedisServer) -> Iterator[RedisServer]:
    """To be stopped with SIGSTOP: it takes connections then, and answers nothing."""
    yield redis_server
    os.kill(redis_server.process.pid, signal.SIGCONT)


def test_a_drain_while_redis_does_not_answer(frail_bench: MeshBench, silent_redis: RedisServer) -> None:
    bench = frail_bench
    worker = _draining_worker(bench)
    run = _start_long_task(bench, worker)
    os.kill(silent_redis.process.pid, signal.SIGSTOP)
    code, seconds = _leave(worker)
    assert code == 1
    assert seconds < DRAIN_SECONDS + 2 * MARGIN_SECONDS + LATENESS_SECONDS
    os.kill(silent_redis.process.pid, signal.SIGCONT)
    bench.worker()
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.SUCCEEDED
