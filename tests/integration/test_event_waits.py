"""Nodes that wait for events, on real servers: whichever comes first, whatever is killed, each has its event once."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from taskmesh import Run, load_flow
from taskmesh.wire import pack
from tests.harness.processes import Processes
from tests.integration import event_wait_app as app
from tests.integration.event_shop import Shop
from tests.integration.mesh_bench import MeshBench, kill9
from tests.integration.shell import TASKMESH, Shell
from tests.nemesis.injected import crash_points
from tests.nemesis.injected.crash_points import Trap, crashes, environ_of

PATIENCE_SECONDS = 90.0
APP = "tests.integration.event_wait_app"
INJECTED = Path(crash_points.__file__).parent

STRICT = """
flow: strict
nodes:
  paid: {wait: event, event: paid, match: {order.id: o-1}, payload: {type: object, required: [amount, currency]}}
"""


class Bank(Shop):
    """Tells of payments."""

    def pay(self, *numbers: int, amount: int = 5) -> None:
        self.send(*(json.dumps(paid(number, amount)).encode() for number in numbers))


def paid(number: int, amount: int = 5) -> dict[str, Any]:
    return {"type": "paid", "id": f"p-{number}", "data": {"order": {"id": f"o-{number}"}, "amount": amount}}


@pytest.fixture
def bank(bench: MeshBench) -> Bank:
    return Bank(bench)


def until(seen: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not seen():
        assert time.monotonic() < deadline, f"this did not come to pass: {what}"
        time.sleep(0.02)


def state(run: Run, name: str) -> str:
    return next(str(node.status) for node in run.details().nodes if node.name == name)


def submit(bench: MeshBench, *numbers: int) -> list[Run]:
    return bench.mesh.submit_many(app.order, [{"order_id": f"o-{number}"} for number in numbers])


def until_parked(*runs: Run, name: str = "paid") -> None:
    until(lambda: all(state(run, name) == "retrying" for run in runs), "all are parked")


def results(runs: list[Run]) -> list[Any]:
    return [run.result(timeout=PATIENCE_SECONDS) for run in runs]


def test_events_of_any_kind_come_before_while_and_after_their_nodes_wait(bench: MeshBench, bank: Bank) -> None:
    for _ in range(2):
        bench.worker(app=APP)
    first, second, third = submit(bench, 1, 2, 3)
    until_parked(first, second, third)
    cloud = {**paid(2, 7), "specversion": "1.0", "source": "/bank", "time": "2026-11-30T00:00:00Z"}
    bank.send(
        *(json.dumps(paid(number, amount)).encode() for number, amount in ((9, 5), (1, 0), (4, 6))),
        json.dumps(cloud).encode(),
        pack(paid(3, 8)),
        pack(paid(1, 9) | {"id": "p-1b"}),
        pack(paid(1, 9) | {"id": "p-1b"}),
    )
    assert results([first, second, third]) == [9, 7, 8]
    until(lambda: bank.waiting() == 0, "all are taken")
    # What came for the fourth is kept, and it needs no other.
    assert results(submit(bench, 4)) == [6]
    assert bench.times_run("ship") == {(run.run_id, "ship"): 1 for run in bench.mesh.runs()}


def test_answers_that_come_before_their_nodes_wait_are_not_lost(bench: MeshBench) -> None:
    bench.worker(app=APP)
    runs = bench.mesh.submit_many(app.quick, [{"order_id": f"o-{number}"} for number in range(40)])
    assert results(runs) == [1] * 40
    assert len(bench.times_run("ship")) == 40


def test_events_that_come_while_nodes_begin_to_wait_are_not_lost(bench: MeshBench, bank: Bank) -> None:
    bench.worker(app=APP)
    # Until one has been admitted, nobody waits for such events.
    [early] = submit(bench, 1000)
    numbers = range(60)
    with ThreadPoolExecutor(1) as threads:
        paying = threads.submit(lambda: list(map(bank.pay, numbers)))
        runs = submit(bench, *numbers)
        paying.result()
    assert results(runs) == [5] * 60
    bank.pay(1000)
    assert results([early]) == [5]


@pytest.mark.parametrize(
    ("point", "victim"), [("event kept", "self"), ("event kept", "worker"), ("event admitted", "self")]
)
def test_whoever_takes_an_event_may_be_killed_before_and_after_it_is_delivered(
    bench: MeshBench, bank: Bank, tmp_path: Path, point: str, victim: str
) -> None:
    path = os.pathsep.join([str(INJECTED), *sys.path])
    traps = environ_of(tmp_path, (Trap(point, times=2, victim=victim),))
    for _ in range(2):
        bench.worker(app=APP, env={**traps, "PYTHONPATH": path})
    runs = submit(bench, *range(10))
    until_parked(*runs)
    bank.pay(*range(10))
    # Whoever gets them next dies of them, too.
    until(lambda: len(crashes(tmp_path)) == 2, "two deaths")
    bench.worker(app=APP)
    assert results(runs) == [5] * 10
    assert bench.times_run("ship") == {(run.id, "ship"): 1 for run in runs}
    until(lambda: bank.waiting() == 0, "all are acked")


def test_who_is_killed_with_nodes_that_begin_to_wait_leaves_them_to_others(
    bench: MeshBench, bank: Bank, tmp_path: Path
) -> None:
    """Between what is kept and the signal to their runs, when they have registered."""
    path = os.pathsep.join([str(INJECTED), *sys.path])
    traps = environ_of(tmp_path, (Trap("event kept", times=2),))
    bench.worker(app=APP, env={**traps, "PYTHONPATH": path})
    [first] = submit(bench, 0)
    until_parked(first)
    # They are for nobody yet, so that nobody dies of them.
    bank.pay(*range(1, 6))
    until(lambda: bank.waiting() == 0, "all are kept")
    runs = submit(bench, *range(1, 6))
    assert results(runs) == [5] * 5
    assert len(crashes(tmp_path)) == 2
    assert bench.times_run("ship") == {(run.id, "ship"): 1 for run in runs}


def test_events_wait_for_workers_and_nodes_for_events(bench: MeshBench, bank: Bank) -> None:
    worker = bench.worker(app=APP)
    runs = submit(bench, *range(5))
    until_parked(*runs)
    for pid in (*worker.children("taskmesh.app.io_process"), worker.process.pid):
        kill9(pid)
    bank.pay(0, 1)
    # This one needs Redis alone.
    bench.mesh.publish_event("paid", paid(2)["data"], id="p-2")
    assert state(runs[2], "paid") == "ready"
    bench.worker(app=APP)
    bank.pay(3, 4)
    assert results(runs) == [5] * 5


def test_one_event_is_for_all_who_wait_for_it(bench: MeshBench, bank: Bank) -> None:
    for _ in range(2):
        bench.worker(app=APP)
    runs = bench.mesh.submit_many(app.opened, [{}] * 300)
    until_parked(runs[0], runs[-1], name="opened")
    bank.send(pack({"type": "market.opened", "id": "m-1", "data": "nine"}))
    assert results(runs) == ["nine"] * 300


def test_what_a_node_cannot_take_is_a_dead_letter_and_can_be_replayed(bench: MeshBench, bank: Bank) -> None:
    bench.worker(app=APP)
    run = bench.mesh.submit(load_flow(STRICT, "strict.yaml"))
    until_parked(run)
    bank.pay(1)
    until(lambda: bench.mesh.dead_letters.count() == 1, "a dead letter")
    [letter] = bench.mesh.dead_letters.find()
    assert letter.reason == "event_refused"
    assert f"node 'paid' of run {run.id!r}" in letter.detail
    assert "'currency' is a required property" in letter.detail
    mended = paid(1)
    mended["data"]["currency"] = "EUR"
    bench.mesh.dead_letters.replay(letter.id, body=json.dumps(mended).encode())
    assert run.result(timeout=PATIENCE_SECONDS) == mended["data"]


def test_an_embedded_run_waits_for_an_event(shell: Shell, child_processes: Processes) -> None:
    text = """
flow: f
nodes:
  paid: {wait: event, event: paid, match: {order.id: o-1}}
  reserve: {task: "workers.orders:reserve", args: {order_id: "${nodes.paid.output.order.id}"}}
"""
    (shell.directory / "f.yaml").write_text(text)
    command = [*TASKMESH, "run", "f.yaml", "-A", "workers.orders", "--id", "one", "-o", "json"]
    child = child_processes.start(command, cwd=shell.directory)
    until(lambda: _embedded_state(shell, "paid") == "retrying", "the run waits")
    assert "waits for an event 'paid'" in shell("explain", "one")
    assert "it begins no run now" in shell("events", "publish", "paid", "--data", '{"order": {"id": "o-1"}}')
    assert child.wait(60) == 0
    assert _embedded_state(shell, "reserve") == "succeeded"
    assert "event paid" in shell("show", "one", "--node", "paid")


def _embedded_state(shell: Shell, node: str) -> str:
    if not any(row["run_id"] == "one" for row in shell.json("ls")):
        return ""
    return str(shell.json("show", "one")["nodes"][node]["status"])
