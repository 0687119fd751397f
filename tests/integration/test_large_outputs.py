"""Large values on real servers: put aside, brought back, kept as long as their runs, and no longer."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from taskmesh import PayloadError, RunFailedError, RunNotFoundError, RunState
from taskmesh.store.link import Command
from tests.integration import payload_app as app
from tests.integration.aside_bench import APP, PATIENCE_SECONDS, Aside
from tests.integration.mesh_bench import MeshBench
from tests.integration.shell import Shell

MEGABYTE = 1024 * 1024

LARGE_APP = """
from taskmesh import Mesh

mesh = Mesh()

@mesh.task
def make() -> str:
    return "x" * 2_000_000

@mesh.task
def measure(text: str) -> int:
    return len(text)

@mesh.flow
def measured():
    return measure(make())
"""


def test_fifty_megabytes_go_through_a_chain(bench: MeshBench, aside: Aside) -> None:
    aside.worker()
    size = 50 * MEGABYTE
    run = aside.mesh.submit(app.chain, size=size)
    expected = [app.digest_of(app.large("produce", size)), size, "first, passed on"]
    assert run.result(timeout=PATIENCE_SECONDS) == expected
    assert len(aside.files()) == 3
    shown = {node.name: node.output for node in run.details().nodes}
    assert shown["produce"]["data"] == app.large("produce", size)

    foundation = aside.mesh._working.foundation
    key = foundation.keys.run(run.id)
    [stored] = foundation.link.exchange([Command(key, "HGET", key, "output:0")])
    assert len(stored) < 128

    [unfetched] = [node for node in run.details(fetch_outputs=False).nodes if node.name == "produce"]
    assert unfetched.output is None
    assert unfetched.output_missing.startswith("it was put aside: 524288")

    # One that does not know where it is says so, and shows all else.
    blind = {node.name: node for node in bench.mesh.run(run.id).details().nodes}
    assert blind["produce"].output is None
    assert "payload.url" in blind["produce"].output_missing
    assert blind["measure"].output == expected


def test_an_undo_is_given_what_its_node_gave(aside: Aside) -> None:
    aside.worker()
    run = aside.mesh.submit(app.undoing, size=MEGABYTE)
    with pytest.raises(RunFailedError, match=f"for good, with {MEGABYTE} bytes"):
        run.result(timeout=PATIENCE_SECONDS)
    assert run.status() is RunState.COMPENSATED
    [undo] = [node.undo for node in run.details().nodes if node.undo]
    assert undo.output == app.digest_of(app.large("book", MEGABYTE))


def test_what_is_missing_fails_the_node_that_needs_it(aside: Aside, tmp_path: Path) -> None:
    aside.worker()
    run = aside.mesh.submit(app.one, size=MEGABYTE)
    run.wait(timeout=PATIENCE_SECONDS)
    [file] = aside.files()
    file.unlink()
    with pytest.raises(PayloadError, match=rf"a value of run '{run.id}'.*{file.name} in .*is not there any more"):
        run.result(timeout=PATIENCE_SECONDS)
    [node] = run.details().nodes
    assert node.output is None
    assert "is not there any more" in node.output_missing


def test_kill_9_between_the_output_and_its_end_leaves_nothing_when_the_run_is_gone(
    brief: Aside, bench: MeshBench, tmp_path: Path
) -> None:
    doomed = brief.worker()
    run = brief.mesh.submit(app.stopping, size=MEGABYTE, once=str(tmp_path / "once"))
    brief.wait_for_files(1)
    for pid in doomed.children("taskmesh.app.io_process"):
        os.kill(pid, signal.SIGKILL)
    doomed.process.kill9()

    brief.worker()
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.SUCCEEDED
    # The first is nobody's any more, and goes with the second when the run is forgotten.
    brief.wait_for_files(0)
    with pytest.raises(RunNotFoundError):
        run.status()


def test_a_fork_keeps_what_it_took_over_when_its_origin_is_gone(brief: Aside, tmp_path: Path) -> None:
    brief.worker()
    open_gate, gate = tmp_path / "open", tmp_path / "gate"
    open_gate.touch()
    origin = brief.mesh.submit(app.gated, size=MEGABYTE, path=str(open_gate))
    assert origin.result(timeout=PATIENCE_SECONDS) == MEGABYTE
    fork = origin.fork(params={"path": str(gate)})
    [first] = [node for node in fork.details().nodes if node.name == "produce"]
    assert first.cause == "inherited"

    brief.wait_for_files(1)
    with pytest.raises(RunNotFoundError):
        origin.status()
    gate.touch()
    assert fork.result(timeout=PATIENCE_SECONDS) == MEGABYTE
    outputs = {node.name: node.output for node in fork.details().nodes}
    assert outputs["produce"]["data"] == app.large("produce", MEGABYTE)


def test_a_place_is_refused_to_a_second_installation(aside: Aside, bench: MeshBench) -> None:
    (aside.directory / bench.environ["TASKMESH_NAMESPACE"]).mkdir(parents=True)
    (aside.directory / bench.environ["TASKMESH_NAMESPACE"] / "owner").write_text("another/16")
    worker = bench.worker(app=APP, env=aside._env, ready=False)
    worker.process.wait_for(lambda: not worker.process.running, "its end", PATIENCE_SECONDS)
    assert "belongs to another installation" in worker.process.output


def test_embedded_it_is_a_directory_beside_the_data(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    (shell.directory / "large_app.py").write_text(LARGE_APP)
    refused = shell.json("run", "large_app:measured", "-A", "large_app", code=1)
    assert "limits.max_value_bytes allows 1048576" in refused["error"]
    monkeypatch.setenv("TASKMESH_PAYLOAD__CLAIM_CHECK_BYTES", "65536")
    ran = shell.json("run", "large_app:measured", "-A", "large_app", "--id", "large")
    assert ran["result"] == 2_000_000
    place = shell.directory / ".taskmesh" / "payload"
    assert len([path for path in place.rglob("*") if path.is_file()]) == 2
    monkeypatch.delenv("TASKMESH_PAYLOAD__CLAIM_CHECK_BYTES")
    assert shell.json("show", "large")["nodes"]["make"]["output"] == "x" * 2_000_000
