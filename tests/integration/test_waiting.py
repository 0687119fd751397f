"""Nodes that wait, on real servers: workers die meanwhile, runs are steered, signals come at any time."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from taskmesh import Run, RunCancelledError, RunFailedError, RunStateError
from tests.harness.processes import Processes
from tests.integration import waiting_app as app
from tests.integration.mesh_bench import MeshBench, kill9
from tests.integration.shell import TASKMESH, Shell

PATIENCE_SECONDS = 90.0
APP = "tests.integration.waiting_app"
ROOT = Path(__file__).parents[2]
SECONDS_PROMPT = 30.0
"""Waits here go on for hours; on a machine under load, an end within this is one that did not wait for them."""

ORDER = """
flow: order
nodes:
  paid: {wait: signal, payload: {type: object, required: [amount]}}
  ok: {approve: "Ship it?", needs: [paid], timeout: 1h}
  nap: {sleep: 100ms, needs: [ok]}
  reserve: {task: "workers.orders:reserve", needs: [nap], args: {order_id: "${nodes.paid.output.amount}"}}
"""


def _states(run: Run) -> dict[str, str]:
    return {node.name: str(node.status) for node in run.details().nodes}


def _until(seen: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not seen():
        assert time.monotonic() < deadline, f"this did not come to pass: {what}"
        time.sleep(0.02)


def _until_parked(run: Run, *names: str) -> None:
    _until(lambda: all(_states(run)[name] == "retrying" for name in names), f"{names} are parked")


def test_what_waits_outlives_the_workers_that_parked_it(bench: MeshBench) -> None:
    first = bench.worker(app=APP)
    run = bench.mesh.submit(app.order, nap=3.0)
    _until_parked(run, "nap", "paid")
    for pid in (*first.children("taskmesh.app.io_process"), first.process.pid):
        kill9(pid)
    # Nobody is there now: what comes is kept, and what is over is noticed by whoever comes.
    assert run.signal("paid", {"amount": 5}, id="p-1", by="shop")
    second = bench.worker(app=APP)
    _until_parked(run, "ok")
    for pid in second.children("taskmesh.app.io_process"):
        kill9(pid)
    assert run.approve("ok", "fine", by="boss")
    assert run.result(timeout=PATIENCE_SECONDS) == {"paid": {"amount": 5}, "by": "boss"}
    nodes = {node.name: node for node in run.details().nodes}
    nap = nodes["nap"]
    assert nap.finished_at is not None
    assert nap.finished_at - run.details().submitted_at >= 3.0
    assert bench.times_run("ship") == {(run.id, "ship"): 1}
    assert {name: node.attempts for name, node in nodes.items()} == dict.fromkeys(nodes, 1)


def test_signals_that_come_as_soon_as_a_run_is_there_are_heard(bench: MeshBench) -> None:
    """Before its node is ready, while it is claimed, and when it is parked."""
    bench.worker(app=APP)

    def play(number: int) -> Any:
        run = bench.mesh.submit(app.pinged)
        time.sleep(number % 10 / 500)
        assert run.signal("ping", number)
        return run.result(timeout=PATIENCE_SECONDS)["paid"]

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(play, range(200))) == list(range(200))


def test_a_signal_that_many_send_at_once_counts_once(bench: MeshBench) -> None:
    bench.worker(app=APP)
    run = bench.mesh.submit(app.pinged)

    def send(number: int) -> int | None:
        try:
            return number if run.signal("ping", number) else None
        except RunStateError:
            return None

    with ThreadPoolExecutor(8) as threads:
        [first] = [number for number in threads.map(send, range(40)) if number is not None]
    assert run.result(timeout=PATIENCE_SECONDS)["paid"] == first


def test_a_cancelled_run_does_not_wait_for_what_it_waited_for(bench: MeshBench) -> None:
    bench.worker(app=APP)
    run = bench.mesh.submit(app.order, nap=36_000.0)
    _until_parked(run, "nap", "paid")
    assert run.cancel("no more")
    with pytest.raises(RunCancelledError):
        run.result(timeout=SECONDS_PROMPT)
    assert set(_states(run).values()) <= {"cancelled", "skipped"}
    with pytest.raises(RunStateError, match="has ended: cancelled"):
        run.signal("paid", {"amount": 5})


def test_waits_end_with_a_keeper_alone(bench: MeshBench) -> None:
    """The worker has gone; the deadline of a run, and its cancellation, need none."""
    worker = bench.worker(app=APP)
    late = bench.mesh.submit(app.order, nap=36_000.0, deadline_seconds=8.0)
    cancelled = bench.mesh.submit(app.order, nap=36_000.0)
    _until_parked(cancelled, "nap", "paid")
    _until(lambda: _states(late)["nap"] in ("retrying", "cancelled"), "nap is parked")
    bench.keeper()
    worker.process.terminate(PATIENCE_SECONDS)
    cancelled.cancel()
    with pytest.raises(RunCancelledError):
        cancelled.result(timeout=PATIENCE_SECONDS)
    with pytest.raises(RunFailedError, match="the deadline of the run was over"):
        late.result(timeout=PATIENCE_SECONDS)


def test_a_rejection_can_be_taken_by_a_rule(bench: MeshBench) -> None:
    bench.worker(app=APP)
    run = bench.mesh.submit(app.handled)
    assert run.reject("ok", "too much", by="boss")
    assert run.result(timeout=PATIENCE_SECONDS) == "mended"
    [ok, _] = run.details().nodes
    assert ok.error is not None
    assert ok.error["message"] == "rejected by boss: too much"
    assert ok.signal is not None
    assert (ok.signal.by, ok.signal.verdict, ok.signal.comment) == ("boss", "rejected", "too much")


def test_a_paused_run_wakes_nobody(bench: MeshBench) -> None:
    bench.worker(app=APP)
    run = bench.mesh.submit(app.pinged)
    _until_parked(run, "ping")
    run.pause()
    assert run.signal("ping", 1)
    assert _states(run)["ping"] == "ready"
    assert run.explain("ping").nodes[0].event == "resume"
    run.resume()
    assert run.result(timeout=PATIENCE_SECONDS)["paid"] == 1


def test_a_fork_keeps_what_has_been_heard_and_waits_for_the_rest(bench: MeshBench) -> None:
    bench.worker(app=APP)
    run = bench.mesh.submit(app.order, nap=0.01)
    run.signal("paid", {"amount": 5})
    _until_parked(run, "ok")
    _until(lambda: _states(run)["nap"] == "succeeded", "the nap is over")
    fork = run.fork()
    _until_parked(fork, "ok")
    assert _states(fork)["paid"] == "succeeded"
    with pytest.raises(RunStateError, match="its node 'paid' has ended"):
        fork.signal("paid", {"amount": 6})
    assert fork.approve("ok", by="other")
    assert run.approve("ok", by="boss")
    assert fork.result(timeout=PATIENCE_SECONDS) == {"paid": {"amount": 5}, "by": "other"}
    assert run.result(timeout=PATIENCE_SECONDS) == {"paid": {"amount": 5}, "by": "boss"}


def test_the_command_line_on_servers(bench: MeshBench) -> None:
    bench.worker(app=APP)
    run = bench.mesh.submit(app.order, nap=0.01)
    _until_parked(run, "paid")

    def command(*words: str, code: int = 0) -> Any:
        env = {**os.environ, **bench.environ}
        done = subprocess.run(
            [*TASKMESH, *words], capture_output=True, text=True, timeout=60, check=False, env=env, cwd=ROOT
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return json.loads(done.stdout) if code == 0 else done.stderr

    json_of = ("-o", "json")
    assert "'amount' is a required property" in command("signal", run.id, "paid", "--payload", "{}", code=2)
    assert "is not JSON" in command("signal", run.id, "paid", "--payload", "{", code=2)
    sent = ("signal", run.id, "paid", "--payload", '{"amount": 5}', "--by", "shop", "--id", "p-1", *json_of)
    assert command(*sent) == {"run_id": run.id, "node": "paid", "signalled": True}
    assert command(*sent) == {"run_id": run.id, "node": "paid", "signalled": False}
    _until_parked(run, "ok")
    explained = command("explain", run.id, "ok", *json_of)["nodes"]["ok"]
    assert explained["waits_for"] == "signal"
    assert "it asks: Ship it?" in explained["reasons"]
    decided = command("approve", run.id, "ok", "--comment", "fine", "--by", "boss", *json_of)
    assert decided == {"run_id": run.id, "node": "ok", "approved": True}
    assert run.result(timeout=PATIENCE_SECONDS)["by"] == "boss"
    shown = command("show", run.id, "--node", "ok", *json_of)
    assert {key: shown["signal"][key] for key in ("by", "verdict", "comment")} == {
        "by": "boss",
        "verdict": "approved",
        "comment": "fine",
    }
    assert ("signal", "boss", "approved: fine") in {(e["kind"], e["by"], e["why"]) for e in shown["history"]}
    assert "has ended: succeeded" in command("reject", run.id, "ok", code=2)


def test_an_embedded_run_waits_for_another_process(shell: Shell, child_processes: Processes) -> None:
    (shell.directory / "order.yaml").write_text(ORDER)
    command = [*TASKMESH, "run", "order.yaml", "-A", "workers.orders", "--id", "one", "-o", "json"]
    child = child_processes.start(command, cwd=shell.directory)
    _until(lambda: _embedded_state(shell, "paid") == "retrying", "the run waits")
    assert "has its signal" in shell("signal", "one", "paid", "--payload", '{"amount": "o-1"}')
    _until(lambda: _embedded_state(shell, "ok") == "retrying", "the run waits again")
    assert "it asks: Ship it?" in shell("explain", "one")
    assert "one: ok is approved" in shell("approve", "one", "ok", "--comment", "fine")
    assert child.wait(60) == 0
    assert _embedded_state(shell, "reserve") == "succeeded"
    assert "approved by" in shell("show", "one", "--node", "ok")


def _embedded_state(shell: Shell, node: str) -> str:
    if not any(row["run_id"] == "one" for row in shell.json("ls")):
        return ""
    return str(shell.json("show", "one")["nodes"][node]["status"])
