"""Circuit breakers over real processes: what an outage costs, who tries, and how it comes back."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from taskmesh import BreakerState, Run
from tests.integration import breaker_app as app
from tests.integration.engine_app import mesh as plain_mesh
from tests.integration.mesh_bench import MeshBench, Worker, kill9

APP = "tests.integration.breaker_app"
IO_PROCESS, EXECUTOR = "taskmesh.app.io_process", "taskmesh.worker.executors.main"
PATIENCE_SECONDS = 60.0
WORKERS = 4
RUNS = 300
IN_FLIGHT = 8
"""Nodes that an executor with one thread may have been handed, so that it never waits for the next."""


@pytest.fixture
def bench(bench: MeshBench, monkeypatch: pytest.MonkeyPatch) -> Iterator[MeshBench]:
    monkeypatch.setenv("TASKMESH_TEST_EFFECTS", bench.environ["TASKMESH_TEST_EFFECTS"])
    bench.mesh.registry = app.mesh.registry
    yield bench
    bench.mesh.registry = plain_mesh.registry


def _workers(bench: MeshBench, count: int = WORKERS) -> list[Worker]:
    workers = [bench.worker("--processes", "1", app=APP, ready=False) for _ in range(count)]
    for worker in workers:
        worker.wait_ready()
    return workers


def _until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.02)


def _state(bench: MeshBench) -> BreakerState | None:
    return next((each.state for each in bench.mesh.breakers.ls()), None)


def _results(runs: list[Run]) -> list[Any]:
    return [run.result(timeout=PATIENCE_SECONDS) for run in runs]


def test_an_outage_costs_few_calls_and_one_probe_in_each_reset_time(bench: MeshBench) -> None:
    workers = _workers(bench)
    app.outage().write_text("0")
    runs = bench.mesh.submit_many(app.use, [{"number": number} for number in range(RUNS)])
    _until(lambda: _state(bench) is BreakerState.OPEN, "the breaker opens")
    outage_ends = time.monotonic() + 3 * app.RESET_SECONDS
    _until(lambda: time.monotonic() > outage_ends, "some probes have failed")
    app.outage().unlink()
    assert sorted(_results(runs)) == list(range(RUNS))

    refused = sorted(effect.at for effect in bench.effects("refused"))
    probes = [at for at in refused if at > refused[0] + app.RESET_SECONDS * 0.9]
    print(f"\ncalls before it was open: {len(refused) - len(probes)}; probes: {len(probes)}")
    assert len(refused) - len(probes) <= app.FAILURES + IN_FLIGHT * WORKERS
    assert 2 <= len(probes) <= 3
    assert all(later - earlier >= app.RESET_SECONDS * 0.95 for earlier, later in pairwise(probes))

    served = sorted(effect.at for effect in bench.effects("served"))
    assert len(served) == RUNS
    print("served in each half second of the recovery:", _histogram(served))
    begun = served[1]
    parts = [sum(begun <= at < begun + part for at in served) for part in (1.0, 2.0, 3.0)]
    assert parts[0] < 0.25 * RUNS
    assert parts[1] - parts[0] > parts[0]

    attempts = sum(run.details().nodes[0].attempts for run in runs)
    assert attempts == len(refused) + len(served), "no attempt was used up by waiting"
    assert (
        sum(worker.metric("breaker_parked_total{") for worker in workers) >= RUNS - app.FAILURES - IN_FLIGHT * WORKERS
    )


def _histogram(times: list[float]) -> list[int]:
    slots = range(int((times[-1] - times[0]) / 0.5) + 1)
    return [sum(slot <= (at - times[0]) / 0.5 < slot + 1 for at in times) for slot in slots]


def test_a_probe_whose_worker_is_killed_is_followed_by_another(bench: MeshBench) -> None:
    workers = _workers(bench, 2)
    app.outage().write_text("0")
    runs = bench.mesh.submit_many(app.use, [{"number": number} for number in range(20)])
    _until(lambda: _state(bench) is BreakerState.OPEN, "the breaker opens")
    app.outage().write_text("600")
    before = len(bench.effects("refused"))
    _until(lambda: len(bench.effects("refused")) > before, "a probe runs")
    assert len(bench.effects("refused")) == before + 1
    app.outage().unlink()
    probe = bench.effects("refused")[-1]
    [victim] = [worker for worker in workers if probe.pid in worker.children(EXECUTOR)]
    for pid in [victim.process.pid, *victim.children(IO_PROCESS), probe.pid]:
        kill9(pid)
    assert sorted(_results(runs)) == list(range(20))
    _until(lambda: _state(bench) is BreakerState.CLOSED, "the breaker closes")


def test_the_fallback_stands_in_while_the_breaker_refuses(bench: MeshBench) -> None:
    _workers(bench, 1)
    assert bench.mesh.submit(app.look_up).result(timeout=PATIENCE_SECONDS) == "fresh"
    bench.mesh.breakers.open("dependency", 3600.0)
    _until(lambda: _fallback(bench), "the fallback runs")
    bench.mesh.breakers.reset("dependency")
    _until(lambda: not _fallback(bench), "the task itself runs")
    assert bench.effects("cached")


def _fallback(bench: MeshBench) -> bool:
    run = bench.mesh.submit(app.look_up)
    result = run.result(timeout=PATIENCE_SECONDS)
    [node] = run.details().nodes
    assert (result, node.cause) in (("from the cache", "fallback"), ("fresh", ""))
    return node.cause == "fallback"


def test_its_state_survives_the_workers(bench: MeshBench) -> None:
    [worker] = _workers(bench, 1)
    bench.mesh.submit(app.use).result(timeout=PATIENCE_SECONDS)
    bench.mesh.breakers.open("dependency", 6.0)
    worker.process.terminate()
    worker.process.wait(PATIENCE_SECONDS)
    _workers(bench, 1)
    began, run = time.monotonic(), bench.mesh.submit(app.use)
    _until(lambda: run.details().nodes[0].cause == "breaker:dependency", "the node waits")
    assert not bench.effects("refused")
    assert run.result(timeout=PATIENCE_SECONDS) == 0
    assert time.monotonic() - began < 6.0 + 2 * app.RAMP_SECONDS


def _said(bench: MeshBench, *words: str) -> tuple[int, str]:
    command = bench.command("breakers", *words)
    code = command.wait(PATIENCE_SECONDS)
    return code, command.output


def _document(text: str) -> Any:
    """The JSON in what a command said; what Python's development mode says stands around it."""
    begin = re.search(r"^[\[{]$", text, re.MULTILINE)
    assert begin is not None, text
    return json.JSONDecoder().raw_decode(text, begin.start())[0]


def test_the_command_line_shows_opens_and_closes_breakers(bench: MeshBench) -> None:
    code, text = _said(bench, "ls")
    assert (code, "no worker has met a breaker" in text) == (0, True)
    code, text = _said(bench, "open", "dependenc")
    assert (code, "no worker has met a breaker 'dependenc'" in text) == (2, True)
    _workers(bench, 1)
    bench.mesh.submit(app.use).result(timeout=PATIENCE_SECONDS)
    code, text = _said(bench, "open", "dependency", "--for", "10m", "-o", "json")
    opened = _document(text)
    assert (code, opened["state"], opened["opens"]) == (0, "open", 1)
    assert 590 < opened["wait_seconds"] <= 600
    assert opened["rules"] == {
        "failures": app.FAILURES,
        "reset_seconds": app.RESET_SECONDS,
        "ramp_seconds": app.RAMP_SECONDS,
        "exclude": [],
    }
    [listed] = _document(_said(bench, "ls", "-o", "json")[1])
    assert listed["name"] == "dependency"
    assert "did you mean 'dependency'?" in _said(bench, "reset", "dependenc")[1]
    assert "closed" in _said(bench, "reset", "dependency")[1]
    assert "reset_seconds   3.0" in _said(bench, "show", "dependency")[1]
    assert _said(bench, "open", "dependency", "--for", "soon")[0] == 2
    assert _state(bench) is BreakerState.CLOSED
