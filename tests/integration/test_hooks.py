"""Hooks on real servers, and embedded: what they are told, and that a run which goes on runs them again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taskmesh import Run, RunFailedError, RunStateError
from tests.integration import hook_app as app
from tests.integration.mesh_bench import MeshBench
from tests.integration.shell import Shell

PATIENCE_SECONDS = 90.0
APP = "tests.integration.hook_app"

SHUT = "it is shut"
AFTER_A_FAILURE = {
    "first": ("succeeded", 1),
    "first.on_failure": ("skipped", None),
    "first.finally": ("succeeded", ["succeeded", "first", None]),
    "gate": ("failed", None),
    "gate.on_success": ("skipped", None),
    "gate.on_failure": ("succeeded", ["failed", "gate", SHUT]),
    "gate.finally": ("failed", None),
    "last": ("upstream_failed", None),
    "flow:on_success": ("skipped", None),
    "flow:on_failure": ("succeeded", ["failed", "gate", SHUT]),
    "flow:finally": ("succeeded", ["failed", "gate", SHUT]),
}
AFTER_A_SUCCESS = {
    **AFTER_A_FAILURE,
    "gate": ("succeeded", "open"),
    "gate.on_success": ("succeeded", ["succeeded", "gate", None]),
    "gate.on_failure": ("skipped", None),
    "last": ("succeeded", "open"),
    "flow:on_success": ("succeeded", ["succeeded", None, None]),
    "flow:on_failure": ("skipped", None),
    "flow:finally": ("succeeded", ["succeeded", None, None]),
}


def _seen(run: Run) -> dict[str, tuple[str, Any]]:
    return {node.name: (str(node.status), node.output) for node in run.details().nodes}


def _why(run: Run, name: str) -> str:
    [error] = [node.error for node in run.details().nodes if node.name == name]
    assert error is not None
    return error["message"]


def test_hooks_hear_of_a_failure_and_again_when_the_run_is_retried(bench: MeshBench, tmp_path: Path) -> None:
    bench.worker(app=APP)
    run = bench.mesh.submit(app.guarded, path=str(tmp_path / "gate"))
    with pytest.raises(RunFailedError, match=SHUT):
        run.result(timeout=PATIENCE_SECONDS)
    assert _seen(run) == AFTER_A_FAILURE
    assert _why(run, "gate.on_success") == "node 'gate', which it observes, has failed"
    assert _why(run, "flow:on_success") == "the run did not end as on_success asks"
    (tmp_path / "gate").touch()
    assert run.retry() is True
    assert run.result(timeout=PATIENCE_SECONDS) == "open"
    assert _seen(run) == AFTER_A_SUCCESS
    times = {node: count for (_, node), count in bench.times_run("tell").items()}
    assert times == {
        **{"first.finally": 1, "gate.on_failure": 1, "gate.on_success": 1},
        **{"flow:on_failure": 1, "flow:on_success": 1, "flow:finally": 2},
    }


def test_a_fork_takes_over_hooks_with_their_nodes_and_runs_those_of_its_flow(bench: MeshBench, tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    bench.worker(app=APP)
    run = bench.mesh.submit(app.guarded, path=str(tmp_path / "gate"))
    assert run.result(timeout=PATIENCE_SECONDS) == "open"
    fork = run.fork("last")
    assert fork.result(timeout=PATIENCE_SECONDS) == "open"
    assert _seen(fork) == AFTER_A_SUCCESS
    ran = {node for run_id, node in bench.times_run() if run_id == fork.id}
    assert ran == {"last", "gate.finally", "flow:on_success", "flow:finally"}


def test_only_what_has_begun_of_the_hooks_of_a_flow_is_marked_by_hand(bench: MeshBench, tmp_path: Path) -> None:
    run = bench.mesh.submit(app.guarded, path=str(tmp_path / "gate"))
    with pytest.raises(RunStateError, match="waits for its turn; it can be skipped or marked when that has come"):
        run.skip("flow:finally")
    [waiting] = run.explain("flow:finally").nodes
    assert waiting.reasons[0].startswith("waits for first (ready), gate (waiting)")
    for node in ("first", "gate", "first.finally", "gate.on_success", "gate.finally"):
        run.mark(node, "by hand")
    run.skip("last")
    for node in ("flow:on_success", "flow:finally"):
        run.skip(node)
    assert str(run.status()) == "succeeded"


HOOK_APP = """
from taskmesh import Mesh

mesh = Mesh()

@mesh.task
def fail() -> None:
    raise ValueError("it is shut")

@mesh.task
def tell(status: str, node: str, why: str = "") -> list:
    return [status, node, why]
"""

HOOK_FLOW = """
flow: guarded
hooks:
  finally: {task: "hook_app:tell", args: {status: "${ended.status}", node: "${ended.node}"}}
nodes:
  gate:
    task: "hook_app:fail"
    hooks:
      on_failure:
        task: "hook_app:tell"
        args: {status: "${ended.status}", node: "${ended.node}", why: "${ended.error.message}"}
"""


def test_hooks_of_a_file_run_embedded(shell: Shell) -> None:
    (shell.directory / "hook_app.py").write_text(HOOK_APP)
    (shell.directory / "guarded.yaml").write_text(HOOK_FLOW)
    assert "hook: on_failure of gate" in shell("graph", "guarded.yaml")
    shell("run", "guarded.yaml", "-A", "hook_app", "--id", "r1", code=1)
    document = shell.json("show", "r1")
    assert document["status"] == "failed"
    assert (document["nodes"]["gate.on_failure"]["hook"], "hook" in document["nodes"]["gate"]) == ("on_failure", False)
    assert {name: (node["status"], node["output"]) for name, node in document["nodes"].items()} == {
        "gate": ("failed", None),
        "gate.on_failure": ("succeeded", ["failed", "gate", SHUT]),
        "flow:finally": ("succeeded", ["failed", "gate", ""]),
    }
