"""Rules, conditions and switches on real servers: what runs, what does not, and what people are told of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from taskmesh import Run, RunCancelledError, RunFailedError, RunState
from tests.integration import choice_app as app
from tests.integration.mesh_bench import MeshBench, kill9

PATIENCE_SECONDS = 90.0
APP = "tests.integration.choice_app"


def _states(run: Run) -> dict[str, str]:
    return {node.name: str(node.status) for node in run.details().nodes}


def _why(run: Run, name: str) -> str:
    [error] = [node.error for node in run.details().nodes if node.name == name]
    assert error is not None
    return error["message"]


@pytest.mark.parametrize(
    ("amount", "risk", "taken", "output"),
    [
        (5000.0, "high", {"review"}, "review"),
        (5.0, "high", {"hold", "notify"}, "hold"),
        (5.0, "low", set[str](), "else"),
    ],
)
def test_a_switch_goes_the_first_way_that_holds(
    bench: MeshBench, amount: float, risk: str, taken: set[str], output: str
) -> None:
    bench.worker(app=APP)
    run = bench.mesh.submit(app.routed, amount=amount, risk=risk)
    assert run.result(timeout=PATIENCE_SECONDS) == output
    states = _states(run)
    branches = {name: states.pop(name) for name in ("review", "hold", "notify")}
    assert {name for name, state in branches.items() if state == "succeeded"} == taken
    assert {state for name, state in branches.items() if name not in taken} <= {"skipped"}
    assert states == {"check": "succeeded", "route": "succeeded", "join": "succeeded"}
    assert {node for _, node in bench.times_run("say")} == {"check", "join", *taken}
    for name in branches.keys() - taken:
        assert _why(run, name) == f"switch 'route' went another way to {output!r}"


def test_a_switch_without_a_way_out_fails_its_run(bench: MeshBench) -> None:
    bench.worker(app=APP)
    run = bench.mesh.submit(app.no_way_out, amount=1.0)
    with pytest.raises(RunFailedError, match=r"no case of the switch holds.*params.amount = 1.0"):
        run.result(timeout=PATIENCE_SECONDS)
    assert _states(run) == {"route": "failed", "review": "upstream_failed"}


def test_a_node_whose_condition_is_false_is_skipped_with_what_needs_it(bench: MeshBench) -> None:
    bench.worker(app=APP)
    run = bench.mesh.submit(app.conditional, amount=5.0, extra=2)
    assert run.result(timeout=PATIENCE_SECONDS) == {"next": None, "broken": "broken"}
    assert _states(run) == {"big": "skipped", "next": "skipped", "broken": "succeeded"}
    assert _why(run, "big") == "its condition is false: 'params.amount > 100.0' is false (params.amount = 5.0)"
    assert _why(run, "next") == "node 'big', which it needs, was skipped"
    [explained] = run.explain("big").nodes
    assert explained.reasons[0].startswith("was skipped: its condition is false: 'params.amount > 100.0'")
    [broken] = [node for node in run.details().nodes if node.name == "broken"]
    assert [(each.holds, each.values) for each in broken.conditions] == [(True, "params.extra = 2")]
    assert [node.attempts for node in run.details().nodes if node.name == "big"] == [0]
    shown = bench.command("show", run.id, "--node", "big")
    assert shown.wait(PATIENCE_SECONDS) == 0
    assert "condition 'params.amount > 100.0': false (params.amount = 5.0)" in shown.output


def test_a_condition_that_cannot_be_evaluated_fails_its_node(bench: MeshBench) -> None:
    bench.worker(app=APP)
    run = bench.mesh.submit(app.conditional, amount=5.0, extra="many")
    with pytest.raises(RunFailedError, match=r"ConditionError.*'params.extra > 1' cannot be evaluated.*\"many\""):
        run.result(timeout=PATIENCE_SECONDS)
    assert bench.times_run("say").get((run.id, "broken")) is None


def test_a_failure_that_somebody_takes_neither_halts_nor_fails_the_run_by_itself(bench: MeshBench) -> None:
    """But what could not run for it does, where nobody takes that."""
    bench.worker(app=APP)
    run = bench.mesh.submit(app.mended, word="x")
    assert run.result(timeout=PATIENCE_SECONDS) == ["refund", None]
    assert run.status() is RunState.SUCCEEDED
    states = {"charge": "failed", "receipt": "upstream_failed", "refund": "succeeded", "report": "succeeded"}
    assert _states(run) == states
    assert "it cannot begin any more by none_failed: charge (failed)" in _why(run, "receipt")


def test_enough_successes_are_enough(bench: MeshBench) -> None:
    bench.worker(app=APP)
    run = bench.mesh.submit(app.saved, word="x")
    assert run.result(timeout=PATIENCE_SECONDS) == "x"
    assert _states(run) == {"first": "failed", "second": "succeeded", "third": "succeeded", "two": "succeeded"}


def test_what_always_runs_does_so_after_its_run_was_cancelled(bench: MeshBench, tmp_path: Path) -> None:
    bench.worker(app=APP)
    run = bench.mesh.submit(app.tidied, path=str(tmp_path / "open"))
    _wait_for(lambda: bench.effects("hold"))
    assert run.cancel("enough") is True
    (tmp_path / "open").touch()
    with pytest.raises(RunCancelledError):
        run.result(timeout=PATIENCE_SECONDS)
    states = _states(run)
    assert (states["later"], states["tidy"], states["done"]) == ("cancelled", "succeeded", "cancelled") or (
        states["work"] == "cancelled" and states["later"] == "skipped" and states["tidy"] == "succeeded"
    )


def test_a_node_whose_worker_died_runs_again_though_its_condition_would_be_false_by_then(
    bench: MeshBench, tmp_path: Path
) -> None:
    worker = bench.worker(app=APP)
    run = bench.mesh.submit(app.beside, slow_path=str(tmp_path / "slow"), path=str(tmp_path / "beside"))
    _wait_for(lambda: {effect.node for effect in bench.effects("hold")} == {"slow", "beside"})
    (tmp_path / "slow").touch()
    _wait_for(lambda: _states(run)["slow"] == "succeeded")
    for pid in worker.children("taskmesh.app.io_process"):
        kill9(pid)
    _wait_for(lambda: bench.times_run("hold")[run.id, "beside"] == 2)
    (tmp_path / "beside").touch()
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.SUCCEEDED
    assert _states(run) == {"quick": "succeeded", "slow": "succeeded", "beside": "succeeded"}


def test_a_failed_run_goes_on_without_what_was_skipped_for_good(bench: MeshBench, tmp_path: Path) -> None:
    bench.worker(app=APP)
    run = bench.mesh.submit(app.conditional, amount=5.0, extra="many")
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.FAILED
    assert run.retry() is True
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.FAILED
    states = {node.name: (str(node.status), node.attempts) for node in run.details().nodes}
    assert states["broken"] == ("failed", 2)
    assert states["big"][0] in ("skipped", "cancelled")


def _wait_for(is_there: Any) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_there():
        assert time.monotonic() < deadline
        time.sleep(0.02)
