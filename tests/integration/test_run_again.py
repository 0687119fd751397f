"""Ended runs go on, from what failed or from a node; nodes are skipped and marked by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskmesh import NodeState, Run, RunFailedError, RunState, RunStateError, TooLargeError, UsageError
from tests.harness.processes import Processes
from tests.integration import control_app as app
from tests.integration.mesh_bench import MeshBench

PATIENCE_SECONDS = 90.0
APP = "tests.integration.control_app"


def _by_name(run: Run) -> dict[str, NodeState]:
    return {node.name: node.status for node in run.details().nodes}


def _failed(bench: MeshBench, path: Path) -> Run:
    run = bench.mesh.submit(app.branches, path=str(path), left=1, right=10)
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.FAILED
    return run


def test_a_failed_run_goes_on_from_what_did_not_succeed(bench: MeshBench, tmp_path: Path) -> None:
    bench.worker(app=APP)
    run = _failed(bench, tmp_path / "open")
    assert run.retry() is True
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.FAILED
    (tmp_path / "open").touch()
    assert run.retry("mended") is True
    assert run.result(timeout=PATIENCE_SECONDS) == 2 + 10 + 2
    details = {node.name: node for node in run.details().nodes}
    assert {name: node.attempts for name, node in details.items()} == {"left": 1, "right": 3, "other": 1, "all": 1}
    assert bench.times_run("double") == {(run.id, "left"): 1, (run.id, "other"): 1}
    assert details["right"].last_error is not None
    with pytest.raises(RunStateError, match="has succeeded"):
        run.retry()


def test_a_run_goes_on_from_a_node(bench: MeshBench, tmp_path: Path) -> None:
    bench.worker(app=APP)
    (tmp_path / "open").touch()
    run = bench.mesh.submit(app.branches, path=str(tmp_path / "open"), left=1, right=10)
    assert run.result(timeout=PATIENCE_SECONDS) == 14
    with pytest.raises(UsageError, match="did you mean 'left'"):
        run.rerun("lef")
    assert run.rerun("left") is True
    assert run.result(timeout=PATIENCE_SECONDS) == 14
    assert bench.times_run() == {(run.id, "left"): 2, (run.id, "other"): 1, (run.id, "right"): 1, (run.id, "all"): 2}


def test_a_terminated_run_can_go_on(bench: MeshBench, tmp_path: Path) -> None:
    (tmp_path / "open").touch()
    run = bench.mesh.submit(app.branches, path=str(tmp_path / "open"), left=1, right=10)
    run.terminate()
    bench.worker(app=APP)
    assert run.retry() is True
    assert run.result(timeout=PATIENCE_SECONDS) == 14


@pytest.mark.parametrize(("method", "call"), [("reset_nodes", 1), ("reset_nodes", 2), ("resume_runs", 1)])
def test_a_caller_that_dies_half_way_leaves_what_the_next_one_finishes(
    bench: MeshBench, child_processes: Processes, tmp_path: Path, method: str, call: int
) -> None:
    bench.worker(app=APP)
    run = bench.mesh.submit(app.wide, path=str(tmp_path / "open"))
    with pytest.raises(RunFailedError):
        run.result(timeout=PATIENCE_SECONDS)
    (tmp_path / "open").touch()
    environ = bench.environ
    servers = (environ["TASKMESH_NAMESPACE"], environ["TASKMESH_BROKER_URL"], environ["TASKMESH_STORE_URL"])
    caller = child_processes.python(APP, *servers, run.id, method, str(call), env=environ)
    assert caller.wait(PATIENCE_SECONDS) == -9
    details = run.details()
    assert details.status is RunState.PAUSED
    assert details.paused is not None
    assert (details.paused.kind, details.paused.why) == ("retry", "again")
    for wish in (run.cancel, run.pause, lambda: run.rerun("gate"), lambda: run.skip("gate")):
        with pytest.raises(RunStateError, match="taskmesh resume"):
            wish()
    assert (run.retry() if call == 1 else run.resume()) is True
    assert run.result(timeout=PATIENCE_SECONDS) == 2 * app.WIDTH
    times = bench.times_run()
    assert times.pop((run.id, "gate")) == 2
    assert (set(times.values()), len(times)) == ({1}, app.WIDTH + 1)


def test_nodes_are_marked_and_skipped_by_hand(bench: MeshBench, tmp_path: Path) -> None:
    marked = bench.mesh.submit(app.branches, path=str(tmp_path / "never"), left=1, right=10)
    skipped = bench.mesh.submit(app.branches, path=str(tmp_path / "never"), left=1, right=10)
    assert marked.mark("right", 100, "checked by hand") is True
    assert marked.mark("right", 100, "checked by hand") is False
    assert skipped.skip("right") is True
    with pytest.raises(TooLargeError):
        marked.mark("left", "x" * 2_000_000)
    bench.worker(app=APP)
    assert marked.result(timeout=PATIENCE_SECONDS) == 104
    [node] = [node for node in marked.details().nodes if node.name == "right"]
    assert (node.status, node.attempts, node.output) == (NodeState.SUCCEEDED, 0, 100)
    assert node.decided is not None
    assert node.decided.endswith(": checked by hand")
    assert skipped.wait(timeout=PATIENCE_SECONDS) is RunState.SUCCEEDED
    assert _by_name(skipped)["all"] is NodeState.SKIPPED
    assert not bench.effects("gate")
    with pytest.raises(RunStateError, match="has ended"):
        marked.skip("left")


def test_a_node_is_marked_before_what_it_needs_has_ended(bench: MeshBench, tmp_path: Path) -> None:
    run = bench.mesh.submit(app.branches, path=str(tmp_path / "never"), left=1, right=10)
    assert run.mark("all", "early") is True
    bench.worker(app=APP)
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.FAILED
    assert not bench.effects("total")
    (tmp_path / "never").touch()
    assert run.retry() is True
    assert run.result(timeout=PATIENCE_SECONDS) == "early"
