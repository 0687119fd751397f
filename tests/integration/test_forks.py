"""Runs are forked: a new run takes over what another one has done, and runs the rest, maybe with other parameters."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskmesh import FlowError, NodeState, Run, RunConflictError, RunNotFoundError, RunState, RunStateError, UsageError
from taskmesh.store.link import Command
from tests.harness.processes import Processes
from tests.integration import control_app as app
from tests.integration.mesh_bench import MeshBench

PATIENCE_SECONDS = 90.0
APP = "tests.integration.control_app"
ROOT = Path(__file__).parents[2]
TASKMESH = (sys.executable, "-c", "from taskmesh.cli import main; main()")


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """While this file is there, gates are open."""
    path = tmp_path / "open"
    path.touch()
    return path


def _sold(bench: MeshBench, gate: Path) -> Run:
    run = bench.mesh.submit(app.shop, size=1, price=10, path=str(gate), id="sold", tags={"tenant": "acme"})
    assert run.result(timeout=PATIENCE_SECONDS) == 12
    return run


def _times(bench: MeshBench, run: Run) -> dict[str, int]:
    return {node: count for (run_id, node), count in bench.times_run().items() if run_id == run.id}


def _until(seen: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not seen():
        assert time.monotonic() < deadline, f"this did not come to pass: {what}"
        time.sleep(0.02)


def test_what_reads_a_changed_parameter_runs_again_and_the_rest_is_taken_over(bench: MeshBench, gate: Path) -> None:
    bench.worker(app=APP)
    sold = _sold(bench, gate)
    before = sold.details()
    fork = sold.fork(params={"price": 20}, reason="what if")
    assert fork.result(timeout=PATIENCE_SECONDS) == 22
    assert _times(bench, fork) == {"priced": 1, "sold": 1}
    assert (sold.details(), _times(bench, sold)) == (before, {"made": 1, "priced": 1, "sold": 1})
    details = fork.details()
    made = details.nodes[0]
    assert (made.status, made.attempts, made.output, made.cause) == (NodeState.SUCCEEDED, 0, 2, "inherited")
    assert details.tags == {"tenant": "acme"}
    assert details.forked_from is not None
    assert details.forked_from[:3] == ("sold", (), ("price",))
    [begun, forked, inherited, ready, resumed, *_] = fork.history()
    assert (begun.kind, forked.kind, forked.why) == ("run", "fork", "run sold, with another price: what if")
    assert (inherited.node, inherited.state, inherited.cause) == ("made", "succeeded", "inherited")
    assert (ready.node, ready.state, resumed.kind) == ("priced", "ready", "resume")
    assert any("forked from run sold" in reason for reason in fork.explain().reasons)
    assert fork.explain("made").nodes[0].reasons == ("succeeded: it is taken over from run sold",)


def test_a_fork_from_a_node(bench: MeshBench, gate: Path) -> None:
    bench.worker(app=APP)
    sold = _sold(bench, gate)
    fork = asyncio.run(sold.afork("priced", id="forked"))
    assert fork.result(timeout=PATIENCE_SECONDS) == 12
    assert _times(bench, fork) == {"priced": 1, "sold": 1}
    again = fork.fork("sold", params={"path": str(gate)})
    assert again.result(timeout=PATIENCE_SECONDS) == 12
    assert _times(bench, again) == {"sold": 1}
    copy = again.fork()
    assert copy.result(timeout=PATIENCE_SECONDS) == 12
    assert _times(bench, copy) == {}
    rerun = copy.rerun("made")
    assert rerun is True
    assert copy.result(timeout=PATIENCE_SECONDS) == 12
    assert _times(bench, copy) == {"made": 1, "priced": 1, "sold": 1}


def test_what_cannot_be_is_said(bench: MeshBench, gate: Path) -> None:
    bench.worker(app=APP)
    sold = _sold(bench, gate)
    with pytest.raises(UsageError, match=r"take over what made made with size, which is changed.*--from made"):
        sold.fork("sold", params={"size": 2})
    with pytest.raises(UsageError, match="did you mean 'made'"):
        sold.fork("mad")
    with pytest.raises(FlowError, match="colour"):
        sold.fork(params={"colour": "red"})
    with pytest.raises(RunNotFoundError):
        bench.mesh.run("nobody").fork()
    assert len(bench.mesh.runs()) == 1


def test_the_same_wish_with_the_same_id_is_the_same_run(bench: MeshBench, gate: Path) -> None:
    bench.worker(app=APP)
    sold = _sold(bench, gate)
    for _ in range(2):
        assert sold.fork("sold", params={"price": 10}, id="forked").result(timeout=PATIENCE_SECONDS) == 12
    assert _times(bench, bench.mesh.run("forked")) == {"sold": 1}
    for wish in (lambda: sold.fork("made", id="forked"), lambda: sold.fork("sold", id="sold")):
        with pytest.raises(RunConflictError):
            wish()
    with pytest.raises(RunConflictError):
        bench.mesh.submit(app.shop, size=1, price=10, path=str(gate), id="forked")


def test_a_run_that_goes_on_is_forked(bench: MeshBench) -> None:
    bench.worker(app=APP)
    run = bench.mesh.submit(app.endless, size=1)
    _until(lambda: run.details().nodes[0].status is NodeState.SUCCEEDED, "a node has ended")
    fork = run.fork()
    made, held = fork.details().nodes
    assert (made.cause, made.output, held.status) == ("inherited", 2, NodeState.READY)
    assert (run.status(), fork.status()) == (RunState.RUNNING, RunState.RUNNING)
    assert fork.cancel() is True
    assert fork.wait(timeout=PATIENCE_SECONDS) is RunState.CANCELLED
    assert run.status() is RunState.RUNNING


def test_a_failed_run_is_forked_with_what_mends_it(bench: MeshBench, gate: Path, tmp_path: Path) -> None:
    bench.worker(app=APP)
    run = bench.mesh.submit(app.shop, size=1, price=10, path=str(tmp_path / "never"))
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.FAILED
    fork = run.fork(params={"path": str(gate)})
    assert fork.result(timeout=PATIENCE_SECONDS) == 12
    assert _times(bench, fork) == {"sold": 1}


def test_a_fork_has_a_deadline_of_its_own(bench: MeshBench, gate: Path) -> None:
    worker = bench.worker(app=APP)
    sold = _sold(bench, gate)
    worker.process.kill9()
    bench.keeper()
    assert any("its deadline is in 59 min" in reason for reason in sold.fork("made").explain().reasons)
    fork = sold.fork("sold", deadline_seconds=1.0)
    assert fork.wait(timeout=PATIENCE_SECONDS) is RunState.FAILED


def test_a_fork_undoes_only_what_it_has_done_itself(bench: MeshBench, gate: Path, tmp_path: Path) -> None:
    bench.worker(app=APP)
    trip = bench.mesh.submit(app.trip, path=str(gate))
    assert trip.wait(timeout=PATIENCE_SECONDS) is RunState.SUCCEEDED
    fork = trip.fork("hotel", params={"path": str(tmp_path / "never")})
    assert fork.wait(timeout=PATIENCE_SECONDS) is RunState.COMPENSATED
    assert [effect.node for effect in bench.effects("release")] == ["undo:hotel"]
    assert [node.undo is not None for node in fork.details().nodes] == [False, True, False]
    only = trip.fork("paid", params={"path": str(tmp_path / "never")})
    assert only.wait(timeout=PATIENCE_SECONDS) is RunState.FAILED
    with pytest.raises(RunStateError, match="nothing"):
        only.compensate()
    with pytest.raises(RunStateError, match="is being undone, or was"):
        fork.fork()


@pytest.mark.parametrize(
    ("method", "call"), [("inherit_nodes", 1), ("inherit_nodes", 3), ("reset_nodes", 1), ("resume_runs", 1)]
)
def test_a_caller_that_dies_half_way_leaves_what_the_next_one_finishes(
    bench: MeshBench, child_processes: Processes, gate: Path, method: str, call: int
) -> None:
    bench.worker(app=APP)
    run = bench.mesh.submit(app.deep, path=str(gate))
    assert run.result(timeout=PATIENCE_SECONDS) == 2 * app.WIDTH
    environ = bench.environ
    servers = (environ["TASKMESH_NAMESPACE"], environ["TASKMESH_BROKER_URL"], environ["TASKMESH_STORE_URL"])
    caller = child_processes.python(APP, *servers, run.id, method, str(call), "forked", env=environ)
    assert caller.wait(PATIENCE_SECONDS) == -9
    fork = bench.mesh.run("forked")
    paused = fork.details().paused
    assert paused is not None
    assert (paused.kind, paused.why) == (f"fork of {run.id}", "again")
    for wish in (fork.cancel, fork.pause, fork.retry, lambda: fork.skip("last")):
        with pytest.raises(RunStateError, match="taskmesh resume"):
            wish()
    assert fork.explain("last").nodes[0].event is not None
    if call == 1:
        assert run.fork("last", id="forked").id == "forked"
    else:
        assert fork.resume() is True
    assert fork.result(timeout=PATIENCE_SECONDS) == 2 * app.WIDTH
    assert _times(bench, fork) == {"last": 1}


@pytest.mark.parametrize("gone", [False, True])
def test_a_fork_whose_source_has_run_again_meanwhile_is_not_made_of_both(
    bench: MeshBench, child_processes: Processes, gate: Path, gone: bool
) -> None:
    bench.worker(app=APP)
    run = bench.mesh.submit(app.deep, path=str(gate))
    assert run.result(timeout=PATIENCE_SECONDS) == 2 * app.WIDTH
    environ = bench.environ
    servers = (environ["TASKMESH_NAMESPACE"], environ["TASKMESH_BROKER_URL"], environ["TASKMESH_STORE_URL"])
    caller = child_processes.python(APP, *servers, run.id, "inherit_nodes", "3", "forked", env=environ)
    assert caller.wait(PATIENCE_SECONDS) == -9
    if gone:
        foundation = bench.mesh._working.foundation
        key = foundation.keys.run(run.id)
        foundation.link.exchange([Command(key, "DEL", key)])
    else:
        for node in run.details().nodes[app.WIDTH - 5 : app.WIDTH]:
            run.rerun(node.name)
            assert run.result(timeout=PATIENCE_SECONDS) == 2 * app.WIDTH
    fork = bench.mesh.run("forked")
    for finish in (lambda: run.fork("last", id="forked"), fork.resume):
        with pytest.raises(RunStateError, match=r"forked from is gone, or has run again.*terminate it"):
            finish()
    assert fork.terminate() is True


def _ask(bench: MeshBench, directory: Path, *arguments: str, code: int = 0) -> Any:
    command = [*TASKMESH, *arguments, "-o", "json"]
    env = {**bench.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command,
        cwd=directory,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if done.stdout else done.stderr


def test_the_command_line_forks_and_sets_deadlines(bench: MeshBench, gate: Path, tmp_path: Path) -> None:
    bench.worker(app=APP)
    _sold(bench, gate)
    words = ("fork", "sold", "-p", "price=20", "--id", "forked", "--deadline", "10m", "--reason", "what if")
    assert _ask(bench, tmp_path, *words) == {"run_id": "forked", "forked_from": "sold"}
    assert bench.mesh.run("forked").result(timeout=PATIENCE_SECONDS) == 22
    shown = _ask(bench, tmp_path, "show", "forked")
    origin = shown["forked_from"]
    assert (origin["run_id"], origin["nodes"], origin["changed"], origin["why"]) == ("sold", [], ["price"], "what if")
    assert shown["nodes"]["made"]["cause"] == "inherited"
    from_two = _ask(bench, tmp_path, "fork", "sold", "--from", "made", "--from", "sold")
    assert bench.mesh.run(from_two["run_id"]).result(timeout=PATIENCE_SECONDS) == 12
    assert "--from made" in _ask(bench, tmp_path, "fork", "sold", "--from", "sold", "-p", "size=3", code=2)
    assert "is no length of time" in _ask(bench, tmp_path, "fork", "sold", "--deadline", "soon", code=2)
    target = ("submit", f"{APP}:gate", "-A", APP, "-p", "path=never")
    submitted = _ask(bench, tmp_path, *target, "--deadline", "10m")
    run_id = submitted["run_id"]
    [deadline] = bench.mesh._working.foundation.reader.run_fields(run_id, ["deadline"])
    assert deadline is not None
    assert float(deadline) - bench.mesh.run(run_id).details().submitted_at == pytest.approx(600.0)
