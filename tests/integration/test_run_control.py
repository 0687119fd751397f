"""Runs are paused, resumed, cancelled and terminated while workers and callers die."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskmesh import NodeState, Run, RunCancelledError, RunNotFoundError, RunState, RunStateError
from taskmesh.store.controls import Controls
from tests.integration import engine_app as app
from tests.integration.mesh_bench import MeshBench

PATIENCE_SECONDS = 90.0
ROOT = Path(__file__).parents[2]
TASKMESH = (sys.executable, "-c", "from taskmesh.cli import main; main()")


def _wait_until(seen: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not seen():
        assert time.monotonic() < deadline, f"this did not come to pass: {what}"
        time.sleep(0.02)


def _states(run: Run) -> list[NodeState]:
    return [node.status for node in run.details().nodes]


def _is_held(run: Run) -> bool:
    """Whether a node could start and none runs any more."""
    states = _states(run)
    return NodeState.READY in states and NodeState.RUNNING not in states


def _paused_chain(bench: MeshBench, seconds: float = 0.2) -> Run:
    run = bench.mesh.submit(app.slow_chain, seconds=seconds)
    _wait_until(lambda: bench.effects("woke"), "a node has run")
    assert run.pause("too much load")
    _wait_until(lambda: _is_held(run), "what ran has ended")
    return run


def test_a_paused_run_starts_nothing_until_it_is_resumed(bench: MeshBench) -> None:
    worker = bench.worker()
    run = _paused_chain(bench)
    done = len(bench.effects("woke"))
    details = run.details()
    assert (run.status(), details.status) == (RunState.PAUSED, RunState.PAUSED)
    assert details.paused is not None
    assert (details.paused.kind, details.paused.why) == ("user", "too much load")
    # What comes after it in the same queues has passed the message of the held node.
    assert bench.mesh.submit(app.fan).result(timeout=PATIENCE_SECONDS) == sum(range(100))
    _wait_until(lambda: worker.metric('claims_total{answer="paused"') > 0, "the held node was claimed")
    assert len(bench.effects("woke")) == done
    assert run.pause() is True
    assert run.resume() is True
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.SUCCEEDED
    assert set(bench.times_run("nap").values()) == {1}
    assert (run.pause(), run.resume(), run.cancel(), run.terminate()) == (False, False, False, False)


def test_workers_and_the_caller_die_around_a_pause(bench: MeshBench) -> None:
    doomed = bench.worker()
    run = bench.mesh.submit(app.slow_chain, seconds=0.2)
    _wait_until(lambda: bench.effects("woke"), "a node has run")
    run.pause()
    doomed.process.kill9()
    bench.worker()
    [flow_hash] = bench.mesh._working.foundation.reader.run_fields(run.id, ["flow"])
    assert flow_hash is not None
    # As a caller that dies before it has published anything: the keeper must do it.
    [answer] = Controls(bench.mesh._working.foundation.store).resume_runs([(run.id, flow_hash.decode())])
    assert answer.word == "resumed"
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.SUCCEEDED
    assert all(state is NodeState.SUCCEEDED for state in _states(run))


def test_a_paused_run_can_be_cancelled(bench: MeshBench) -> None:
    bench.worker()
    run = _paused_chain(bench)
    assert run.cancel("not needed") is True
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.CANCELLED
    details = run.details()
    assert details.halted_by is not None
    assert details.halted_by.why == "not needed"
    cancelled = [node.error for node in details.nodes if node.status is NodeState.CANCELLED]
    assert [error["message"].endswith(": not needed") for error in cancelled if error] == [True]
    halted = _cancelled_and_running(bench)
    with pytest.raises(RunStateError, match="nothing more of it starts; do that when it has"):
        halted.retry()
    with pytest.raises(RunStateError, match="ended early"):
        halted.pause()


def _cancelled_and_running(bench: MeshBench) -> Run:
    run = bench.mesh.submit(app.nap, seconds=5.0)
    _wait_until(lambda: any(each.run_id == run.id for each in bench.effects("nap")), "the task runs")
    assert run.cancel()
    return run


def test_a_terminated_run_has_ended_whatever_its_tasks_do(bench: MeshBench) -> None:
    worker = bench.worker()
    run = bench.mesh.submit(app.slow_chain, seconds=0.5)
    _wait_until(lambda: bench.effects("nap"), "a node runs")
    assert run.terminate("wrong input") is True
    assert run.terminate() is True
    assert run.status() is RunState.TERMINATED
    before = run.details()
    with pytest.raises(RunCancelledError, match="terminated"):
        run.result(timeout=1.0)
    _wait_until(lambda: worker.metric("in_flight") == 0 and worker.metric("stale_settlements"), "the task has ended")
    assert run.details() == before
    assert {node.status for node in before.nodes} == {NodeState.CANCELLED, NodeState.SKIPPED}
    assert len(bench.effects("nap")) == 1


def test_the_run_must_exist(bench: MeshBench) -> None:
    run = bench.mesh.run("nobody")
    for wish in (run.pause, run.resume, run.cancel, run.terminate):
        with pytest.raises(RunNotFoundError):
            wish()


def test_many_runs_by_a_filter(bench: MeshBench) -> None:
    params = [{"value": number} for number in range(250)]
    bench.mesh.submit_many(app.echo, params, tags={"tenant": "acme"})
    others = bench.mesh.submit_many(app.echo, params[:3], tags={"tenant": "other"})
    acme = bench.mesh.select(tags={"tenant": "acme"})
    assert len(acme.ids()) == 250
    assert bench.mesh.select(flow="no-such-flow").ids() == []
    assert bench.mesh.select(older_than_seconds=3600).ids() == []
    assert len(bench.mesh.select(since_seconds=3600).ids()) == 253
    assert all(verdict.done for verdict in acme.pause("night"))
    assert sorted(bench.mesh.select(status=RunState.PAUSED).ids()) == sorted(acme.ids())
    assert {run.status() for run in others} == {RunState.RUNNING}
    assert all(verdict.done for verdict in acme.terminate())
    assert acme.ids() == []
    assert len(acme.ids([RunState.TERMINATED])) == 250


def _ask(bench: MeshBench, directory: Path, *arguments: str, code: int = 0) -> Any:
    env = {**bench.environ, "PYTHONPATH": str(ROOT)}
    command = [*TASKMESH, *arguments, "-o", "json"]
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


def test_the_command_line_steers_one_and_many(bench: MeshBench, tmp_path: Path) -> None:
    run = bench.mesh.submit(app.echo, value=1, id="one")
    assert _ask(bench, tmp_path, "pause", "one", "--reason", "wait") == {
        "run_id": "one",
        "paused": True,
        "status": "paused",
    }
    assert _ask(bench, tmp_path, "show", "one")["paused"]["why"] == "wait"
    assert _ask(bench, tmp_path, "ls", "--status", "paused")[0]["run_id"] == "one"
    assert _ask(bench, tmp_path, "resume", "one")["status"] == "running"
    bench.mesh.submit_many(app.echo, [{"value": number} for number in range(5)], tags={"tenant": "acme"})
    assert "--yes" in _ask(bench, tmp_path, "cancel", "--tag", "tenant=acme", code=2)
    many = _ask(bench, tmp_path, "terminate", "--tag", "tenant=acme", "--yes")
    assert (many["chosen"], len(many["terminated"]), many["refused"]) == (5, 5, {})
    mixed = _ask(bench, tmp_path, "terminate", "one", "nobody", code=1)
    assert (mixed["terminated"], list(mixed["refused"])) == (["one"], ["nobody"])
    assert "do one of both" in _ask(bench, tmp_path, "cancel", "one", "--all", code=2)
    assert run.status() is RunState.TERMINATED
