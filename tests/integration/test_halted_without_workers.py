"""Halted runs, by their deadline or by somebody, end although no worker serves their pool: a keeper is enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskmesh import NodeState, Run, RunFailedError, RunState
from tests.integration import breaker_app
from tests.integration import engine_app as app
from tests.integration.mesh_bench import MeshBench

PATIENCE_SECONDS = 90.0
DEADLINE_SECONDS = 1.0
ENGINE_APP = "tests.integration.engine_app"


@pytest.fixture
def outage(bench: MeshBench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The dependency of the tasks behind a breaker is away."""
    monkeypatch.setenv("TASKMESH_TEST_EFFECTS", bench.environ["TASKMESH_TEST_EFFECTS"])
    path = breaker_app.outage()
    path.write_text("0")
    bench.mesh.registry = breaker_app.mesh.registry
    yield path
    bench.mesh.registry = app.mesh.registry


def _until(seen: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not seen():
        assert time.monotonic() < deadline, f"this did not come to pass: {what}"
        time.sleep(0.02)


def _states(run: Run) -> set[NodeState]:
    return {node.status for node in run.details().nodes}


def _leave_alone(bench: MeshBench, module: str, seen: Callable[[], object], what: str) -> None:
    """A worker works, and dies when ``seen``; a keeper stays."""
    worker = bench.worker(app=module)
    _until(seen, what)
    bench.keeper()
    worker.process.kill9()


@pytest.mark.parametrize("paused", [False, True])
def test_a_run_ends_with_its_deadline(bench: MeshBench, paused: bool) -> None:
    bench.keeper()
    run = bench.mesh.submit(app.diamond, start=1, deadline_seconds=DEADLINE_SECONDS)
    if paused:
        run.pause()
    with pytest.raises(RunFailedError, match="deadline"):
        run.result(timeout=PATIENCE_SECONDS)
    assert _states(run) == {NodeState.CANCELLED, NodeState.SKIPPED}
    assert not bench.effects()


def test_a_run_is_cancelled(bench: MeshBench) -> None:
    bench.keeper()
    run = bench.mesh.submit(app.diamond, start=1)
    assert run.cancel("not needed") is True
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.CANCELLED
    [first, *_] = run.details().nodes
    assert first.error is not None
    assert first.error["message"].endswith(": not needed")


def test_a_run_whose_node_waits_for_its_next_attempt(bench: MeshBench) -> None:
    run = bench.mesh.submit(app.far_away)
    _leave_alone(bench, ENGINE_APP, lambda: NodeState.RETRYING in _states(run), "it waits")
    assert run.cancel() is True
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.CANCELLED


def test_a_run_whose_node_is_parked_behind_a_breaker(bench: MeshBench, outage: Path) -> None:
    run = bench.mesh.submit(breaker_app.use)

    def is_parked() -> bool:
        return run.details().nodes[0].cause == "breaker:dependency"

    _leave_alone(bench, "tests.integration.breaker_app", is_parked, "it is parked")
    assert run.cancel() is True
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.CANCELLED


def test_a_run_whose_worker_has_died(bench: MeshBench) -> None:
    run = bench.mesh.submit(app.nap, seconds=1000.0)
    _leave_alone(bench, ENGINE_APP, lambda: bench.effects("nap"), "it runs")
    assert run.cancel() is True
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.CANCELLED
