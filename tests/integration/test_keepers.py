"""Keepers in processes of their own: they share the partitions, and one takes over when another is killed."""

from __future__ import annotations

import time

from taskmesh import RunState
from tests.integration import engine_app as app
from tests.integration.mesh_bench import MeshBench, Worker

PATIENCE_SECONDS = 90.0
PARTITIONS = 16
NOT_KEEPING = {"TASKMESH_WORKER__KEEPER": "false"}
TAKEOVER_SECONDS = 15.0


def _led(keeper: Worker) -> int:
    return int(keeper.metric("keeper_partitions"))


def _await_led(keeper: Worker, low: int, high: int, seconds: float = PATIENCE_SECONDS) -> None:
    keeper.process.wait_for(lambda: low <= _led(keeper) <= high, f"{low} to {high} partitions", seconds)


def test_keepers_share_the_partitions_and_one_takes_over_from_the_dead(bench: MeshBench) -> None:
    first = bench.keeper()
    _await_led(first, PARTITIONS, PARTITIONS)
    second = bench.keeper()
    _await_led(second, 1, PARTITIONS - 1)
    _await_led(first, 1, PARTITIONS - 1)
    first.process.kill9()
    _await_led(second, PARTITIONS, PARTITIONS, TAKEOVER_SECONDS)
    third = bench.keeper()
    _await_led(third, 1, PARTITIONS - 1)
    assert second.process.terminate(30) == 0
    _await_led(third, PARTITIONS, PARTITIONS, TAKEOVER_SECONDS)


def test_a_keeper_finds_what_a_killed_worker_left_although_no_worker_keeps_house(bench: MeshBench) -> None:
    bench.keeper()
    doomed = bench.worker(env=NOT_KEEPING)
    assert _led(doomed) == 0
    runs = bench.mesh.submit_many(app.slow_chain, [{"seconds": 0.05} for _ in range(20)])
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(bench.effects("woke")) < 10:
        assert time.monotonic() < deadline, "the worker did nothing"
        time.sleep(0.02)
    doomed.process.kill9()
    bench.worker(env=NOT_KEEPING)
    assert all(run.wait(timeout=PATIENCE_SECONDS) is RunState.SUCCEEDED for run in runs)
