"""Events that begin runs on real servers: whatever is killed, the run of an event exists once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from taskmesh import EventError, load_flow
from taskmesh.wire import pack
from tests.integration.event_shop import PATIENCE_SECONDS, Shop, await_some, doomed_workers
from tests.integration.mesh_bench import MeshBench
from tests.integration.shell import Shell
from tests.nemesis.injected.crash_points import Trap, crashes

FLOW = """
flow: order
params: {order_id: string}
on: {event: order.created, when: event.data.amount > 10, params: {order_id: "${event.data.id}"}}
nodes:
  first: {task: "tests.integration.engine_app:echo", args: {value: "${params.order_id}"}}
"""

EMBEDDED_APP = """
from taskmesh import Mesh

mesh = Mesh()

@mesh.task
def work(order_id: str) -> str:
    return order_id

@mesh.flow(on={"event": "order.created", "params": {"order_id": "${event.data.id}"}})
def order(order_id: str):
    return work(order_id)
"""


def tell(shop: Shop, *numbers: int, amount: int = 11) -> None:
    shop.send(*(json.dumps(order(number, amount)).encode() for number in numbers))


def order(number: int, amount: int = 11) -> dict[str, Any]:
    return {"type": "order.created", "id": f"e-{number}", "data": {"id": f"o-{number}", "amount": amount}}


@pytest.fixture
def shop(bench: MeshBench) -> Shop:
    bench.mesh.flows.push(load_flow(FLOW, "order.yaml", bench.mesh.registry), activate=True)
    return Shop(bench)


def await_runs(bench: MeshBench, count: int) -> None:
    """So many runs have succeeded, and there are no others."""
    await_some(lambda: len(bench.mesh.runs(limit=1000)) >= count, f"{count} runs")
    for summary in bench.mesh.runs(limit=1000):
        bench.mesh.run(summary.run_id).result(timeout=PATIENCE_SECONDS)
    assert len(bench.mesh.runs(limit=1000)) == count


def test_events_of_any_kind_begin_runs_once(bench: MeshBench, shop: Shop) -> None:
    for _ in range(2):
        bench.worker()
    cloud = {**order(2), "specversion": "1.0", "source": "", "time": "2026-11-30T00:00:00Z"}
    shop.send(json.dumps(order(1)).encode(), json.dumps(cloud).encode(), pack(order(3)), pack(order(1)))
    tell(shop, 4, amount=10)
    await_runs(bench, 3)
    results = {bench.mesh.run(each.run_id).result() for each in bench.mesh.runs()}
    assert results == {"o-1", "o-2", "o-3"}
    # The same event by another way.
    [run] = bench.mesh.publish_event("order.created", order(1)["data"], id="e-1")
    assert run.result() == "o-1"
    await_some(lambda: shop.waiting() == 0, "all are acked")
    assert len(bench.mesh.runs()) == 3


@pytest.mark.parametrize("victim", ["self", "worker"])
def test_a_process_that_is_killed_between_admission_and_ack_begins_no_run_twice(
    bench: MeshBench, shop: Shop, tmp_path: Path, victim: str
) -> None:
    trap = Trap("event admitted", times=2, victim=victim)
    doomed_workers(bench, tmp_path, trap)
    tell(shop, *range(10))
    # Whoever gets them next dies of them, too.
    await_some(lambda: len(crashes(tmp_path)) == 2, "two deaths")
    bench.worker()
    await_runs(bench, 10)
    assert len(bench.times_run("echo")) == 10
    await_some(lambda: shop.waiting() == 0, "all are acked")


def test_events_that_come_while_nobody_is_there_wait(bench: MeshBench, shop: Shop) -> None:
    worker = bench.worker()
    worker.process.kill9()
    tell(shop, *range(5))
    assert bench.mesh.runs() == []
    bench.worker()
    await_runs(bench, 5)


def test_what_cannot_be_used_is_a_dead_letter_and_can_be_replayed(bench: MeshBench, shop: Shop) -> None:
    bench.worker()
    lacking = {**order(1), "data": {"amount": 11}}
    shop.send(b"hello", b"{" * 2_000_000, json.dumps(lacking).encode())
    tell(shop, 2)
    await_some(lambda: bench.mesh.dead_letters.count() == 3, "three letters")
    letters = {each.reason: each for each in bench.mesh.dead_letters.find()}
    assert set(letters) == {"event_unreadable", "event_too_large", "event_refused"}
    refused = letters["event_refused"]
    assert "${event.data.id} cannot be resolved" in refused.detail
    assert refused.pool == "events"
    bench.mesh.dead_letters.replay(refused.id, body=json.dumps(order(1)).encode())
    await_runs(bench, 2)
    with pytest.raises(EventError, match="cannot be resolved"):
        bench.mesh.publish_event("order.created", lacking["data"])


def test_a_version_that_is_no_longer_active_begins_nothing(bench: MeshBench, shop: Shop) -> None:
    bench.worker()
    tell(shop, 1)
    await_runs(bench, 1)
    quiet = FLOW.replace("event: order.created", "event: order.paid")
    bench.mesh.flows.push(load_flow(quiet, "order.yaml", bench.mesh.registry), activate=True)
    # What comes behind the second event and begins a run says that the second one is dealt with.
    shop.send(json.dumps(order(2)).encode(), json.dumps(order(4) | {"type": "order.paid"}).encode())
    await_runs(bench, 2)
    bench.mesh.flows.rollback("order")
    tell(shop, 3)
    await_runs(bench, 3)
    results = {bench.mesh.run(each.run_id).result(timeout=PATIENCE_SECONDS) for each in bench.mesh.runs()}
    assert results == {"o-1", "o-4", "o-3"}


def test_events_begin_runs_of_an_embedded_mesh(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(EMBEDDED_APP)
    shell("flow", "push", "app:order", "-A", "app", "--activate")
    words = ("events", "publish", "order.created", "--data", '{"id": "o-1"}', "--id", "e-1", "-o", "json")
    [run_id] = json.loads(shell(*words))["runs"]
    assert json.loads(shell(*words))["runs"] == [run_id]
    assert "it begins no run now" in shell("events", "publish", "order.paid")
    assert "cannot be resolved" in shell("events", "publish", "order.created", "--data", "{}", code=2)
    assert "is not JSON" in shell("events", "publish", "order.created", "--data", "{", code=2)
    assert run_id in shell("ls")
