"""Events that are gathered, on real servers: whatever is killed, each is in one batch, and each batch is one run."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from taskmesh import load_flow
from tests.integration.event_shop import PATIENCE_SECONDS, Shop, await_some, doomed_workers
from tests.integration.mesh_bench import MeshBench
from tests.integration.shell import Shell
from tests.nemesis.injected.crash_points import Trap, crashes

CUSTOMERS, EVENTS = 4, 40

FLOW = """
flow: sync
params: {events: array, customer: string}
on:
  event: order.changed
  window: WINDOW
  max_batch: 7
  key: "${event.data.customer}"
  params: {events: "${events}", customer: "${batch.key}"}
nodes:
  first: {task: "tests.integration.engine_app:echo", args: {value: "${params.events}"}}
"""

EMBEDDED_APP = """
from taskmesh import Mesh

mesh = Mesh()

@mesh.task
def work(events: list) -> int:
    return len(events)

@mesh.flow(on={"event": "order.changed", "window": "1h", "params": {"events": "${events}"}})
def sync(events: list):
    return work(events)
"""


def change(number: int) -> dict[str, Any]:
    return {"type": "order.changed", "id": f"e-{number}", "data": {"customer": f"c-{number % CUSTOMERS}"}}


@pytest.fixture
def shop(bench: MeshBench) -> Shop:
    return Shop(bench)


def gather(bench: MeshBench, window: str) -> None:
    flow = load_flow(FLOW.replace("WINDOW", window), "sync.yaml", bench.mesh.registry)
    bench.mesh.flows.push(flow, activate=True)


def send(shop: Shop, *numbers: int) -> None:
    shop.send(*(json.dumps(change(number)).encode() for number in numbers))


def gathered(bench: MeshBench) -> int:
    return sum(each.size for each in bench.mesh.event_batches(1000))


def events_of_runs(bench: MeshBench) -> list[list[dict[str, Any]]]:
    """What each run has got, once no batch waits any more."""
    await_some(lambda: bench.mesh.event_batches() == [], "all batches have begun")
    runs = [bench.mesh.run(each.run_id) for each in bench.mesh.runs(limit=1000)]
    return [run.result(timeout=PATIENCE_SECONDS) for run in runs]


def assert_each_in_one_run(runs: list[list[dict[str, Any]]], numbers: range) -> None:
    for events in runs:
        assert len({each["data"]["customer"] for each in events}) == 1
        assert 1 <= len(events) <= 7
    assert Counter(each["id"] for events in runs for each in events) == Counter(f"e-{number}" for number in numbers)


@pytest.mark.parametrize(
    ("point", "victim"),
    [("event gathered", "worker"), ("batch closed", "self"), ("batch begun", "worker"), ("batch settled", "self")],
)
def test_whoever_is_killed_each_event_is_in_one_batch_and_each_batch_is_one_run(
    bench: MeshBench, shop: Shop, tmp_path: Path, point: str, victim: str
) -> None:
    trap = Trap(point, times=2, victim=victim)
    doomed_workers(bench, tmp_path, trap)
    gather(bench, "1s")
    send(shop, *range(EVENTS))
    # Who is left dies of the same.
    await_some(lambda: len(crashes(tmp_path)) == 2, "two deaths")
    bench.worker()
    await_some(lambda: shop.waiting() == 0, "all have been taken")
    # Sent again they are the same events, whether their batches have begun or not.
    send(shop, *range(EVENTS), EVENTS)
    await_some(lambda: shop.waiting() == 0, "all have been taken again")
    await_some(lambda: sum(map(len, events_of_runs(bench))) > EVENTS, "all are in runs")
    assert_each_in_one_run(events_of_runs(bench), range(EVENTS + 1))
    assert bench.mesh.dead_letters.count() == 0


def test_batches_wait_while_no_keeper_is_there_and_begin_with_the_next_one(bench: MeshBench, shop: Shop) -> None:
    keeper = bench.keeper()
    bench.worker(env={"TASKMESH_WORKER__KEEPER": "false"})
    keeper.process.kill9()
    gather(bench, "1s")
    send(shop, *range(CUSTOMERS))
    await_some(lambda: gathered(bench) == CUSTOMERS, "all are gathered")
    closes_at = max(each.closes_at for each in bench.mesh.event_batches())
    await_some(lambda: time.time() > closes_at, "their time is over")
    assert bench.mesh.runs() == []
    assert gathered(bench) == CUSTOMERS
    bench.keeper()
    runs = events_of_runs(bench)
    assert len(runs) == CUSTOMERS
    assert_each_in_one_run(runs, range(CUSTOMERS))


def test_an_embedded_mesh_shows_what_it_gathers(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(EMBEDDED_APP)
    shell("flow", "push", "app:sync", "-A", "app", "--activate")
    assert shell("events", "ls").strip() == "no batch of events waits"
    for number in range(2):
        assert "begins no run now" in shell("events", "publish", "order.changed", "--id", str(number))
    [batch] = json.loads(shell("events", "ls", "-o", "json"))
    assert (batch["flow"], batch["key"], batch["size"], batch["is_open"]) == ("sync", "", 2, True)
    assert batch["closes_at"] == batch["opened_at"] + 3600
    assert batch["run_id"] in shell("events", "ls")
