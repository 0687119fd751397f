"""Flows that begin other flows on real servers: what a child gives, how it fails, and who goes with whom."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskmesh import FlowVersionError, NodeState, Run, RunCancelledError, RunFailedError, RunState
from taskmesh.tasks.flow import FlowDefinition
from tests.harness.processes import Processes
from tests.integration import subflow_app as app
from tests.integration.mesh_bench import MeshBench, Worker
from tests.nemesis.injected import crash_points
from tests.nemesis.injected.crash_points import Trap, crashes, environ_of

APP = "tests.integration.subflow_app"
PATIENCE_SECONDS = 90.0
DEATHS = 3
WAVE = 20
"""How many runs are submitted at once while workers die."""

INJECTED = Path(crash_points.__file__).parent


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"it never came to: {what}"
        time.sleep(0.02)


def _child(bench: MeshBench, run: Run, node: str) -> Run:
    """The run that a node waits for, or has waited for."""
    found: list[str] = []

    def is_there() -> bool:
        found[:] = [each.child for each in run.details().nodes if each.name == node and each.child]
        return bool(found)

    _until(is_there, f"node {node} begins a run")
    return bench.mesh.run(found[0])


@pytest.fixture
def worker(bench: MeshBench) -> Worker:
    bench.mesh.registry = app.mesh.registry
    return bench.worker(app=APP)


@pytest.mark.usefixtures("worker")
def test_a_node_has_the_result_of_its_child(bench: MeshBench) -> None:
    run = bench.mesh.submit(app.outer, value=3, tags={"tenant": "acme"})
    assert run.result(timeout=PATIENCE_SECONDS) == 48
    child = _child(bench, run, "inner").details()
    assert (child.flow, child.status, child.tags) == ("inner", RunState.SUCCEEDED, {"tenant": "acme"})
    assert child.parent is not None
    assert (child.parent.run_id, child.parent.node) == (run.id, "inner")
    [node] = [each for each in run.details().nodes if each.name == "inner"]
    assert (node.status, node.attempts, node.task) == (NodeState.SUCCEEDED, 1, "flow inner")
    assert set(bench.times_run("double").values()) == {1}


@pytest.mark.usefixtures("worker")
def test_many_children_at_once(bench: MeshBench) -> None:
    runs = bench.mesh.submit_many(app.outer, [{"value": value} for value in range(200)])
    assert [run.result(timeout=PATIENCE_SECONDS) for run in runs] == [16 * value for value in range(200)]


@pytest.mark.usefixtures("worker")
def test_the_failure_of_a_child_fails_its_node_and_a_retry_begins_a_fresh_one(bench: MeshBench, tmp_path: Path) -> None:
    run = bench.mesh.submit(app.trying, path=str(tmp_path / "key"))
    with pytest.raises(RunFailedError, match=r"flow 'needing' ended as failed.*node 'need': FileNotFoundError"):
        run.result(timeout=PATIENCE_SECONDS)
    tried = bench.times_run("need")
    assert len(tried) == 2
    assert set(tried.values()) == {1}
    (tmp_path / "key").touch()
    assert run.retry()
    assert run.result(timeout=PATIENCE_SECONDS) == 21
    assert len(bench.times_run("need")) == 3


@pytest.mark.usefixtures("worker")
def test_a_wait_holds_no_executor(bench: MeshBench, tmp_path: Path) -> None:
    """More children than there are places in executors."""
    runs = bench.mesh.submit_many(app.deep_waiting, [{"path": str(tmp_path / "key")}])
    _until(lambda: len(bench.effects("gate")) == 1, "the innermost run runs")
    more = bench.mesh.submit_many(app.outer, [{"value": 1}] * 20)
    assert [run.result(timeout=PATIENCE_SECONDS) for run in more] == [16] * 20
    (tmp_path / "key").touch()
    assert runs[0].result(timeout=PATIENCE_SECONDS) == 4


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("wish", ["cancel", "terminate"])
def test_children_end_with_their_parent(bench: MeshBench, tmp_path: Path, wish: str) -> None:
    run = bench.mesh.submit(app.deep_waiting, path=str(tmp_path / "key"))
    child = _child(bench, run, "outer_waiting")
    grandchild = _child(bench, child, "waiting")
    _until(lambda: len(bench.effects("gate")) == 1, "the innermost run runs")
    assert getattr(run, wish)("enough")
    with pytest.raises(RunCancelledError):
        run.result(timeout=PATIENCE_SECONDS)
    ended = RunState.CANCELLED if wish == "cancel" else RunState.TERMINATED
    assert [each.wait(timeout=PATIENCE_SECONDS) for each in (grandchild, child, run)] == [ended] * 3
    halted_by = grandchild.details().halted_by
    assert halted_by is not None
    assert halted_by.by == f"run {child.id}"


@pytest.mark.usefixtures("worker")
def test_a_child_ends_whose_node_is_ended_by_hand(bench: MeshBench, tmp_path: Path) -> None:
    run = bench.mesh.submit(app.outer_waiting, path=str(tmp_path / "key"))
    child = _child(bench, run, "waiting")
    assert run.mark("waiting", 3)
    assert run.result(timeout=PATIENCE_SECONDS) == 6
    assert child.wait(timeout=PATIENCE_SECONDS) is RunState.CANCELLED


@pytest.mark.usefixtures("worker")
def test_a_child_that_is_abandoned_goes_on(bench: MeshBench, tmp_path: Path) -> None:
    run = bench.mesh.submit(app.leaving, path=str(tmp_path / "key"))
    child = _child(bench, run, "waiting")
    assert run.cancel()
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.CANCELLED
    assert child.status() is RunState.RUNNING
    (tmp_path / "key").touch()
    assert child.wait(timeout=PATIENCE_SECONDS) is RunState.SUCCEEDED


@pytest.mark.usefixtures("worker")
def test_a_child_is_paused_and_resumed_with_its_parent(bench: MeshBench, tmp_path: Path) -> None:
    run = bench.mesh.submit(app.deep_waiting, path=str(tmp_path / "key"))
    child = _child(bench, run, "outer_waiting")
    grandchild = _child(bench, child, "waiting")
    assert run.pause("wait")
    assert [each.status() for each in (run, child, grandchild)] == [RunState.PAUSED] * 3
    assert run.resume()
    assert [each.status() for each in (run, child, grandchild)] == [RunState.RUNNING] * 3
    (tmp_path / "key").touch()
    assert run.result(timeout=PATIENCE_SECONDS) == 4


@pytest.mark.usefixtures("worker")
def test_a_child_gets_what_is_left_of_the_time(bench: MeshBench, tmp_path: Path) -> None:
    never = str(tmp_path / "never")
    late = bench.mesh.submit(app.outer_waiting, path=never, deadline_seconds=2.0)
    slow = bench.mesh.submit(app.in_time, path=never)
    assert late.wait(timeout=PATIENCE_SECONDS) is RunState.FAILED
    assert _child(bench, late, "waiting").wait(timeout=PATIENCE_SECONDS).ended
    with pytest.raises(RunFailedError, match=r"deadline of (its|the) run was over"):
        slow.result(timeout=PATIENCE_SECONDS)


@pytest.mark.usefixtures("worker")
def test_the_undo_of_a_node_undoes_its_child(bench: MeshBench, tmp_path: Path) -> None:
    run = bench.mesh.submit(app.saga, path=str(tmp_path / "key"))
    child = _child(bench, run, "taking")
    with pytest.raises(RunFailedError):
        run.result(timeout=PATIENCE_SECONDS)
    assert (run.status(), child.status()) == (RunState.COMPENSATED, RunState.COMPENSATED)
    assert run.details().left_to_undo == ()
    undone = sorted(bench.effects("give_back"), key=lambda effect: effect.at)
    assert [effect.run_id for effect in undone] == [child.id, child.id, run.id]


@pytest.mark.usefixtures("worker")
def test_a_child_that_is_stopped_by_a_failure_beside_it_is_undone(bench: MeshBench, tmp_path: Path) -> None:
    run = bench.mesh.submit(app.parallel_saga, path=str(tmp_path / "key"), never=str(tmp_path / "never"))
    child = _child(bench, run, "half_done")
    _until(lambda: len(bench.effects("gate")) == 1, "the child is half done")
    assert run.cancel(compensate=True)
    with pytest.raises(RunCancelledError):
        run.result(timeout=PATIENCE_SECONDS)
    assert (run.status(), child.status()) == (RunState.COMPENSATED, RunState.COMPENSATED)
    undone = sorted(bench.effects("give_back"), key=lambda effect: effect.at)
    assert [effect.run_id for effect in undone] == [child.id, run.id]


@pytest.mark.usefixtures("worker")
def test_a_registered_flow_is_begun_in_the_version_of_the_submission(bench: MeshBench, tmp_path: Path) -> None:
    with pytest.raises(FlowVersionError, match="flow 'named' begins 'inner': no flow 'inner' is registered"):
        bench.mesh.submit(app.named, value=1)
    bench.mesh.flows.push(app.inner, activate=True)
    run = bench.mesh.submit(app.named, value=1)
    assert run.result(timeout=PATIENCE_SECONDS) == 8
    fork = run.fork("double")
    bench.mesh.flows.push(_tripled(), activate=True)
    assert bench.mesh.submit(app.named, value=1).result(timeout=PATIENCE_SECONDS) == 16
    again = run.fork("inner")
    assert [each.result(timeout=PATIENCE_SECONDS) for each in (fork, again)] == [8, 8]


def _tripled() -> FlowDefinition[Any]:
    def inner(value: int) -> Any:
        return app.double(app.double(app.double(value)))

    return app.mesh.flow(inner)


@pytest.mark.usefixtures("worker")
def test_a_flow_may_begin_itself_by_its_name_but_not_for_ever(bench: MeshBench) -> None:
    bench.mesh.flows.push(app.countdown, activate=True)
    bench.mesh.flows.push(app.endless, activate=True)
    assert bench.mesh.submit("countdown", value=4).wait(timeout=PATIENCE_SECONDS) is RunState.SUCCEEDED
    assert len(bench.effects("less_one")) == 4
    with pytest.raises(RunFailedError, match="is 20 runs deep"):
        bench.mesh.submit("endless", value=4).result(timeout=PATIENCE_SECONDS)


@pytest.mark.usefixtures("worker")
def test_a_loop_runs_until_its_condition_holds_or_its_bound_is_over(bench: MeshBench) -> None:
    run, short = bench.mesh.submit(app.climbing, value=4), bench.mesh.submit(app.climbing, value=1)
    assert run.result(timeout=PATIENCE_SECONDS) == 24
    with pytest.raises(RunFailedError, match=r"LoopExhausted.*after each of 6 iterations"):
        short.result(timeout=PATIENCE_SECONDS)
    iterations = [effect.run_id for effect in bench.effects("climb")]
    assert len(iterations) == len(set(iterations)) == 9
    assert [each.flow for each in bench.mesh.runs(parent=run.id)] == [f"{APP}:climb"]


@pytest.mark.parametrize("point", ["child begun", "child ended", "parent told"])
def test_whoever_dies_between_a_child_and_its_parent_leaves_it_to_the_next(
    bench: MeshBench, tmp_path: Path, point: str
) -> None:
    """Also the keeper, which is one of those that die."""
    bench.mesh.registry = app.mesh.registry
    traps = (Trap(point, every=2, times=DEATHS),)
    path = os.pathsep.join([str(INJECTED), *sys.path])
    for _ in range(2):
        bench.worker(app=APP, env={**environ_of(tmp_path, traps), "PYTHONPATH": path})
    waves, deadline = 0, time.monotonic() + PATIENCE_SECONDS
    # How many children one call is for depends on how busy the machine is.
    while len(crashes(tmp_path)) < DEATHS:
        assert time.monotonic() < deadline, f"nobody has died {DEATHS} times at: {point}"
        runs = bench.mesh.submit_many(app.outer, [{"value": value} for value in range(WAVE)])
        assert [run.result(timeout=PATIENCE_SECONDS) for run in runs] == [16 * value for value in range(WAVE)]
        waves += 1
    assert len({effect.run_id for effect in bench.effects("double")}) == 2 * WAVE * waves


def test_embedded(child_processes: Processes, tmp_path: Path) -> None:
    environ = {
        "TASKMESH_EMBEDDED__DIRECTORY": str(tmp_path / "state"),
        "TASKMESH_TEST_EFFECTS": str(tmp_path / "effects"),
        **dict.fromkeys(("TASKMESH_BROKER_URL", "TASKMESH_STORE_URL", "AMQP_URL", "REDIS_URL"), ""),
    }
    process = child_processes.python("tests.integration.embedded_subflows", str(tmp_path), env=environ)
    assert process.wait(PATIENCE_SECONDS) == 0, process.output


def test_workers_die_at_every_moment_and_each_child_runs_once(bench: MeshBench, tmp_path: Path) -> None:
    bench.mesh.registry = app.mesh.registry
    workers = [bench.worker(app=APP) for _ in range(2)]
    runs = bench.mesh.submit_many(app.outer, [{"value": value} for value in range(150)])
    for _ in range(3):
        time.sleep(0.3)
        workers.pop(0).process.kill9()
        workers.append(bench.worker(app=APP))
    assert [run.result(timeout=PATIENCE_SECONDS) for run in runs] == [16 * value for value in range(150)]
    assert len({effect.run_id for effect in bench.effects("double")}) == 2 * len(runs)
