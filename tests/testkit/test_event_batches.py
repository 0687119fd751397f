"""Events that begin runs together, on a virtual mesh: no test waits for a window."""

from __future__ import annotations

from typing import Any

import pytest

from taskmesh import EventError, load_flow
from taskmesh.errors import TaskmeshError
from taskmesh.testing import VirtualMesh

SYNC = """
flow: sync
params: {customer: string, orders: array, size: integer, since: number}
on:
  event: order.changed
  when: event.data.amount > 0
  RULES
  key: "${event.data.customer}"
  params: {customer: "${batch.key}", orders: "${events}", size: "${batch.size}", since: "${batch.opened_at}"}
nodes:
  work: {task: work, args: "${params}"}
"""


@pytest.fixture
def seen(mesh: VirtualMesh) -> list[tuple[str, list[Any]]]:
    seen: list[tuple[str, list[Any]]] = []
    mesh.task(name="work")(
        lambda customer, orders, size, since: seen.append((customer, [each["id"] for each in orders]))
    )
    return seen


def gather(mesh: VirtualMesh, rules: str, version: str = "1") -> None:
    text = SYNC.replace("RULES", rules) + f"version: '{version}'\n"
    mesh.flows.push(load_flow(text, "sync.yaml"), activate=True)


def change(mesh: VirtualMesh, number: int, customer: str = "ann", **data: Any) -> None:
    assert mesh.publish_event("order.changed", {"customer": customer, "amount": 1, **data}, id=f"e-{number}") == []


Seen = list[tuple[str, list[Any]]]


def test_the_events_of_a_window_begin_one_run(mesh: VirtualMesh, seen: Seen) -> None:
    gather(mesh, "window: 60s")
    begun = mesh.clock.now()
    for number in range(3):
        change(mesh, number)
        mesh.clock.advance(15)
    assert mesh.runs() == []
    mesh.run_until(lambda: bool(mesh.runs()))
    assert mesh.clock.now() - begun == pytest.approx(60, abs=1)
    [run] = mesh.runs()
    assert mesh.run(run.run_id).result() is None
    assert seen == [("ann", ["e-0", "e-1", "e-2"])]
    [call] = mesh.calls("work")
    params = call.arguments
    assert params["size"] == 3
    assert params["since"] == pytest.approx(begun, abs=0.01)
    assert params["orders"][0] == {
        "type": "order.changed",
        "id": "e-0",
        "source": "",
        "data": {"customer": "ann", "amount": 1},
    }
    change(mesh, 3)
    mesh.clock.advance(62)
    assert seen[1:] == [("ann", ["e-3"])]


def test_a_debounced_batch_waits_for_silence_but_not_for_ever(mesh: VirtualMesh, seen: Seen) -> None:
    gather(mesh, "debounce: 10s\n  max_wait: 25s")
    change(mesh, 0)
    mesh.clock.advance(12)
    assert seen == [("ann", ["e-0"])]
    for number in range(1, 6):
        change(mesh, number)
        mesh.clock.advance(8)
    assert seen[1:] == [("ann", ["e-1", "e-2", "e-3", "e-4"])]
    mesh.clock.advance(12)
    assert seen[2:] == [("ann", ["e-5"])]


def test_each_key_has_a_batch_of_its_own_and_a_full_one_closes_at_once(mesh: VirtualMesh, seen: Seen) -> None:
    gather(mesh, "window: 1h\n  max_batch: 2")
    for number, customer in enumerate(("ann", "bob", "ann", "ann")):
        change(mesh, number, customer)
    waiting = {(each.key, each.size, each.is_open) for each in mesh.event_batches()}
    assert waiting == {("ann", 2, False), ("bob", 1, True), ("ann", 1, True)}
    mesh.clock.advance(1)
    assert seen == [("ann", ["e-0", "e-2"])]
    mesh.clock.advance(3600)
    assert sorted(seen[1:]) == [("ann", ["e-3"]), ("bob", ["e-1"])]
    assert mesh.event_batches() == []


def test_an_event_that_comes_again_counts_once(mesh: VirtualMesh, seen: Seen) -> None:
    gather(mesh, "window: 60s")
    change(mesh, 0)
    change(mesh, 0)
    mesh.clock.advance(62)
    change(mesh, 0)
    change(mesh, 1)
    mesh.clock.advance(62)
    assert seen == [("ann", ["e-0"]), ("ann", ["e-1"])]
    mesh.clock.advance(86_400)
    change(mesh, 0)
    mesh.clock.advance(62)
    assert seen[2:] == [("ann", ["e-0"])]


def test_what_does_not_hold_or_has_no_key_is_in_no_batch(mesh: VirtualMesh, seen: Seen) -> None:
    gather(mesh, "window: 60s")
    change(mesh, 0, amount=0)
    assert mesh.event_batches() == []
    with pytest.raises(EventError, match=r"\$\{event.data.customer\} cannot be resolved"):
        mesh.publish_event("order.changed", {"amount": 1})
    with pytest.raises(EventError, match="key gives a list"):
        mesh.publish_event("order.changed", {"amount": 1, "customer": []})


def test_a_batch_begins_with_the_version_under_which_it_was_opened(mesh: VirtualMesh, seen: Seen) -> None:
    gather(mesh, "window: 60s")
    change(mesh, 0)
    gather(mesh, "window: 30s", version="2")
    change(mesh, 1)
    mesh.clock.advance(1)
    [run] = mesh.runs()
    assert run.version == "1"
    mesh.flows.archive("sync@1")
    mesh.clock.advance(62)
    assert seen == [("ann", ["e-0"]), ("ann", ["e-1"])]
    assert {each.version for each in mesh.runs()} == {"1", "2"}


def test_a_flow_that_takes_no_events_any_more_still_begins_with_what_it_has_taken(
    mesh: VirtualMesh, seen: Seen
) -> None:
    gather(mesh, "window: 60s")
    change(mesh, 0)
    mesh.flows.push(load_flow("flow: sync\nnodes: {a: {sleep: 1s}}", "sync.yaml"), activate=True)
    mesh.flows.archive("sync@1")
    mesh.clock.advance(62)
    assert seen == [("ann", ["e-0"])]


def test_a_store_that_is_away_holds_a_batch_up_and_loses_nothing(mesh: VirtualMesh, seen: Seen) -> None:
    gather(mesh, "window: 60s")
    change(mesh, 0)
    mesh.faults.store_away(30)
    mesh.clock.advance(10)
    with pytest.raises(TaskmeshError):
        change(mesh, 1)
    mesh.clock.advance(40)
    change(mesh, 1)
    mesh.clock.advance(15)
    assert seen == [("ann", ["e-0", "e-1"])]
