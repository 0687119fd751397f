"""What `explain` tells of runs on real servers, while workers are there, missing, dead, or hold a run up."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from taskmesh import NodeExplanation, Run, RunState
from tests.integration import engine_app as app
from tests.integration.mesh_bench import MeshBench

PATIENCE_SECONDS = 90.0
ROOT = Path(__file__).parents[2]
TASKMESH = (sys.executable, "-c", "from taskmesh.cli import main; main()")


def _until(run: Run, node: str | None, seen: Callable[[NodeExplanation], bool], what: str) -> NodeExplanation:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        [explanation] = run.explain(node, limit=1).nodes
        if seen(explanation):
            return explanation
        assert time.monotonic() < deadline, f"{what}: {explanation}"
        time.sleep(0.05)


def _says(words: str) -> Callable[[NodeExplanation], bool]:
    return lambda explanation: words in "\n".join(explanation.reasons)


def test_every_kind_of_waiting(bench: MeshBench) -> None:
    chain = bench.mesh.submit(app.slow_chain, seconds=30.0, id="chain")
    first, second = chain.explain().nodes[:2]
    assert (first.event, second.event, second.needs) == ("claim", "nodes", (first.node,))
    assert _says("no worker serves pool 'default'; start one with")(first)

    worker = bench.worker()
    running = _until(chain, first.node, lambda each: each.event == "attempt", "a worker takes it up")
    assert running.until is not None
    assert _says("the lease of")(running)
    queued = bench.mesh.submit_many(app.nap, [{"seconds": 30.0}] * 30)[-1]
    _until(queued, None, _says("serve the pool"), "it stands in a queue that is served")
    retrying = bench.mesh.submit(app.far_away, id="far")
    assert retrying.pause("night")
    assert retrying.explain().status is RunState.PAUSED
    assert _until(retrying, None, lambda each: each.event == "resume", "it is held")

    worker.process.kill9()
    _until(chain, first.node, lambda each: each.event == "takeover", "its lease is over")
    _until(chain, first.node, _says("no worker serves its pool"), "nobody is left")


def test_a_retry_a_pause_and_an_end(bench: MeshBench, tmp_path: Path) -> None:
    bench.worker()
    run = bench.mesh.submit(app.far_away, id="far")
    retrying = _until(run, None, lambda each: each.event == "timer", "it waits for its next attempt")
    assert retrying.until is not None
    assert retrying.until > run.explain().at + 3000
    assert _says("ConnectionError: on purpose")(retrying)
    run.pause("night")
    told = _ask(bench, tmp_path, "explain", "far", "-o", "json")
    assert (told["status"], told["commands"]) == ("paused", ["taskmesh resume far"])
    assert [node["waits_for"] for node in told["nodes"].values()] == ["timer"]
    assert "night" in told["reasons"][0]
    run.cancel()
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.CANCELLED
    broken = bench.mesh.submit(app.fail, message="for good", id="broken")
    assert broken.wait(timeout=PATIENCE_SECONDS) is RunState.FAILED
    assert "ValueError: for good" in "\n".join(broken.explain().reasons)
    name = broken.details().nodes[0].name
    assert "for good" in _ask(bench, tmp_path, "explain", "broken", name)
    assert "no node 'other'" in _ask(bench, tmp_path, "explain", "broken", "other", code=2)


def _ask(bench: MeshBench, directory: Path, *arguments: str, code: int = 0) -> Any:
    done = subprocess.run(
        [*TASKMESH, *arguments],
        cwd=directory,
        env={**bench.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if "json" in arguments else done.stdout + done.stderr


def test_the_history_of_a_run_with_its_failures(bench: MeshBench, tmp_path: Path) -> None:
    doomed = bench.worker()
    run = bench.mesh.submit(app.flaky, good_at=3, id="flaky")
    assert run.result(timeout=PATIENCE_SECONDS) == 3
    name = run.details().nodes[0].name
    told = [(event.state, event.attempt, event.cause) for event in run.history(name)]
    assert told == [
        ("ready", 0, ""),
        ("running", 1, ""),
        ("retrying", 1, ""),
        ("ready", 1, "woken"),
        ("running", 2, ""),
        ("retrying", 2, ""),
        ("ready", 2, "woken"),
        ("running", 3, ""),
        ("succeeded", 3, ""),
    ]
    errors = [event.why for event in run.history(name) if event.state == "retrying"]
    assert errors == [f"ConnectionError: attempt {number} on purpose" for number in (1, 2)]

    long = bench.mesh.submit(app.nap, seconds=1.0, id="long")
    _until(long, None, lambda each: each.event == "attempt", "a worker takes it up")
    doomed.process.kill9()
    bench.worker()
    assert long.wait(timeout=PATIENCE_SECONDS) is RunState.SUCCEEDED
    causes = {event.cause for event in long.history()}
    assert causes & {"taken_over", "redriven", "released"}

    document = _ask(bench, tmp_path, "show", "flaky", "--node", name, "-o", "json")
    assert (document["status"], document["attempts"], len(document["history"])) == ("succeeded", 3, len(told))
    assert [event["why"] for event in document["history"] if event["why"]] == errors
    assert "ConnectionError: attempt 2 on purpose" in _ask(bench, tmp_path, "history", "flaky")
    assert _ask(bench, tmp_path, "history", "flaky", "-o", "json")[-1]["kind"] == "run"
    assert "woken" in _ask(bench, tmp_path, "show", "flaky", "--node", name)
    assert "no node 'x'" in _ask(bench, tmp_path, "show", "flaky", "--node", "x", code=2)
