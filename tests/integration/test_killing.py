"""What runs of a run that has been cancelled, terminated or decided over is ended, too."""

from __future__ import annotations

import time

import pytest

from taskmesh import NodeState, RunState
from tests.integration import engine_app as app
from tests.integration.mesh_bench import MeshBench

PATIENCE_SECONDS = 90.0
FOR_EVER_SECONDS = 600.0
AT_ONCE = {"TASKMESH_WORKER__CANCEL_GRACE_SECONDS": "0.5"}
LATE = {"TASKMESH_WORKER__CANCEL_GRACE_SECONDS": "500"}


def _await_effects(bench: MeshBench, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(bench.effects("nap")) < count:
        assert time.monotonic() < deadline, "the tasks did not begin"
        time.sleep(0.02)


def test_a_cancelled_task_that_does_not_hear_is_killed_after_the_grace(bench: MeshBench) -> None:
    worker = bench.worker("--processes", "1", "--threads", "2", env=AT_ONCE)
    deaf = bench.mesh.submit(app.nap, seconds=FOR_EVER_SECONDS)
    beside = bench.mesh.submit(app.nap, seconds=4.0)
    _await_effects(bench, 2)
    assert deaf.cancel("enough") is True
    assert deaf.wait(timeout=PATIENCE_SECONDS) is RunState.CANCELLED
    [node] = deaf.details().nodes
    assert node.status is NodeState.CANCELLED
    assert node.error is not None
    assert node.error["message"].endswith(": enough")
    # What shared the executor runs again, and no attempt of it counts.
    assert beside.result(timeout=PATIENCE_SECONDS) == 4.0
    assert [node.attempts for node in beside.details().nodes] == [1]
    assert bench.times_run("nap")[(beside.id, "task")] == 2
    assert worker.process.running


@pytest.mark.parametrize("wish", ["terminate", "mark"])
def test_what_counts_no_more_is_killed_without_grace(bench: MeshBench, wish: str) -> None:
    bench.worker("--processes", "1", env=LATE)
    run = bench.mesh.submit(app.nap, seconds=FOR_EVER_SECONDS)
    _await_effects(bench, 1)
    assert run.terminate() if wish == "terminate" else run.mark("task", 7)
    # The only executor takes up something else, so what held it is gone.
    assert bench.mesh.submit(app.echo, value="free").result(timeout=PATIENCE_SECONDS) == "free"
    assert run.status() is (RunState.TERMINATED if wish == "terminate" else RunState.SUCCEEDED)
    assert not bench.effects("woke")
