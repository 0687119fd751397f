"""What failed runs did is undone on real servers: exactly that, dependents first, and once in the books."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from taskmesh import CompensationFailedError, NodeState, Run, RunCancelledError, RunFailedError, RunState
from tests.integration import engine_app as app
from tests.integration.mesh_bench import MeshBench

PATIENCE_SECONDS = 90.0


def _undos(run: Run) -> dict[str, tuple[str, int]]:
    return {node.name: (node.undo.status, node.undo.attempts) for node in run.details().nodes if node.undo}


def _wait_for(bench: MeshBench, word: str, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(bench.effects(word)) < count:
        assert time.monotonic() < deadline, f"there were not {count} marks of {word}"
        time.sleep(0.02)


def test_a_failing_tail_has_all_before_it_undone_in_parallel_branches(bench: MeshBench) -> None:
    bench.worker()
    run = bench.mesh.submit(app.saga)
    with pytest.raises(RunFailedError, match="for good"):
        run.result(timeout=PATIENCE_SECONDS)
    details = run.details()
    assert (details.status, details.cause, details.left_to_undo) == (RunState.COMPENSATED, "failed", ())
    assert _undos(run) == {"take": ("succeeded", 1), "left": ("succeeded", 1), "right": ("succeeded", 1)}
    at = {effect.node: effect.at for effect in bench.effects("giving")}
    assert at["undo:take"] > max(at["undo:left"], at["undo:right"])
    assert set(bench.times_run("given").values()) == {1}


def test_a_run_that_has_done_nothing_ends_as_failed(bench: MeshBench) -> None:
    bench.worker()
    run = bench.mesh.submit(app.saga_of_nothing)
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.FAILED
    assert _undos(run) == {}


def test_an_undo_that_fails_for_good_is_mended_and_gone_on_with(bench: MeshBench, tmp_path: Path) -> None:
    bench.worker()
    lock = tmp_path / "locked"
    lock.touch()
    run = bench.mesh.submit(app.saga, lock=str(lock))
    with pytest.raises(CompensationFailedError, match="taskmesh compensate") as caught:
        run.result(timeout=PATIENCE_SECONDS)
    assert caught.value.left == ("take", "left")
    assert _undos(run) == {"take": ("skipped", 0), "left": ("failed", 3), "right": ("succeeded", 1)}

    run.compensate()
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.COMPENSATION_FAILED
    lock.unlink()
    run.compensate()
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.COMPENSATED
    assert _undos(run) == {"take": ("succeeded", 1), "left": ("succeeded", 1), "right": ("succeeded", 1)}
    assert set(bench.times_run("given").values()) == {1}


def test_a_cancelled_run_is_undone_where_that_is_wanted(bench: MeshBench) -> None:
    worker = bench.worker()
    run = bench.mesh.submit(app.long_saga)
    _wait_for(bench, "nap", 1)
    assert run.cancel(compensate=True)
    # What runs may end; here it is taken away.
    worker.process.kill9()
    bench.worker()
    with pytest.raises(RunCancelledError):
        run.result(timeout=PATIENCE_SECONDS)
    assert (run.status(), run.details().cause) == (RunState.COMPENSATED, "cancelled")
    assert _undos(run) == {"take": ("succeeded", 1)}


def test_kill_9_of_a_worker_in_the_middle_of_undos(bench: MeshBench) -> None:
    doomed, _ = bench.worker(), bench.worker()
    runs = bench.mesh.submit_many(app.long_way_back, [{} for _ in range(5)])
    _wait_for(bench, "given", 10)
    doomed.process.kill9()
    for run in runs:
        assert run.wait(timeout=PATIENCE_SECONDS) is RunState.COMPENSATED
        undos = [node.undo for node in run.details().nodes if node.undo]
        assert [undo.status for undo in undos] == [NodeState.SUCCEEDED] * 10
        ends = [undo.finished_at or 0.0 for undo in undos]
        assert ends == sorted(ends, reverse=True)
