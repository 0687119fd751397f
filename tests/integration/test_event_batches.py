"""Events that are gathered, on real servers: whatever is killed, each is in one batch, and each batch is one run."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskmesh import load_flow
from taskmesh.broker.protocol import inbound_events_name
from tests.contract.broker_peers import administer
from tests.integration.mesh_bench import MeshBench
from tests.integration.shell import Shell
from tests.nemesis.injected import crash_points
from tests.nemesis.injected.crash_points import Trap, crashes, environ_of

PATIENCE_SECONDS = 90.0
INJECTED = Path(crash_points.__file__).parent
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


class Shop:
    """Sends events over AMQP."""

    def __init__(self, bench: MeshBench) -> None:
        self._bench = bench
        self._name = inbound_events_name(bench.environ["TASKMESH_NAMESPACE"])

    def gather(self, window: str) -> None:
        flow = load_flow(FLOW.replace("WINDOW", window), "sync.yaml", self._bench.mesh.registry)
        self._bench.mesh.flows.push(flow, activate=True)

    def send(self, *numbers: int) -> None:
        def publish(channel: Any) -> None:
            channel.confirm_delivery()
            for number in numbers:
                channel.basic_publish(self._name, "x", json.dumps(change(number)).encode(), mandatory=True)

        administer(self._bench.environ["TASKMESH_BROKER_URL"], publish)

    def waiting(self) -> int:
        counts: list[int] = []
        administer(
            self._bench.environ["TASKMESH_BROKER_URL"],
            lambda channel: counts.append(channel.queue_declare(self._name, passive=True).method.message_count),
        )
        return counts[0]


@pytest.fixture
def shop(bench: MeshBench) -> Shop:
    return Shop(bench)


def await_some(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)


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
    path = os.pathsep.join([str(INJECTED), *sys.path])
    for _ in range(2):
        bench.worker(env={**environ_of(tmp_path, (trap,)), "PYTHONPATH": path})
    shop.gather("1s")
    shop.send(*range(EVENTS))
    # Who is left dies of the same.
    await_some(lambda: len(crashes(tmp_path)) == 2, "two deaths")
    bench.worker()
    await_some(lambda: shop.waiting() == 0, "all have been taken")
    # Sent again they are the same events, whether their batches have begun or not.
    shop.send(*range(EVENTS), EVENTS)
    await_some(lambda: shop.waiting() == 0, "all have been taken again")
    await_some(lambda: f"e-{EVENTS}" in str(events_of_runs(bench)), "the last event, behind all others")
    assert_each_in_one_run(events_of_runs(bench), range(EVENTS + 1))
    assert bench.mesh.dead_letters.count() == 0


def test_batches_wait_while_no_keeper_is_there_and_begin_with_the_next_one(bench: MeshBench, shop: Shop) -> None:
    keeper = bench.keeper()
    bench.worker(env={"TASKMESH_WORKER__KEEPER": "false"})
    keeper.process.kill9()
    shop.gather("1s")
    shop.send(*range(CUSTOMERS))
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
