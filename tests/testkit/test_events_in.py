"""Events that begin runs, on a virtual mesh."""

from __future__ import annotations

import asyncio

import pytest

from taskmesh import EventError, load_flow
from taskmesh.testing import VirtualMesh

ORDER = """
flow: order
params: {order_id: string}
on: {event: order.created, when: event.data.amount > 10, params: {order_id: "${event.data.id}"}}
nodes:
  charge: {task: charge, args: {id: "${params.order_id}"}}
"""


@pytest.fixture(autouse=True)
def order(mesh: VirtualMesh) -> None:
    mesh.task(name="charge")(lambda id: f"charged {id}")
    mesh.flows.push(load_flow(ORDER, "order.yaml"), activate=True)


def test_an_event_begins_a_run(mesh: VirtualMesh) -> None:
    [run] = mesh.publish_event("order.created", {"id": "o-1", "amount": 11}, id="e-1")
    assert run.result() == "charged o-1"
    assert [each.id for each in mesh.publish_event("order.created", {"id": "o-1", "amount": 11}, id="e-1")] == [run.id]
    assert mesh.publish_event("order.created", {"id": "o-1", "amount": 9}) == []
    assert len(mesh.runs()) == 1


def test_an_event_without_an_id_is_a_new_one(mesh: VirtualMesh) -> None:
    data = {"id": "o-1", "amount": 11}
    assert mesh.publish_event("order.created", data)[0].id != mesh.publish_event("order.created", data)[0].id


def test_an_event_that_cannot_be_used_is_refused(mesh: VirtualMesh) -> None:
    with pytest.raises(EventError, match=r"flow 'order': .*cannot be evaluated"):
        mesh.publish_event("order.created", {"id": "o-1"})
    with pytest.raises(EventError, match="printable"):
        mesh.publish_event("order created")
    with pytest.raises(EventError, match="no encoding"):
        mesh.publish_event("order.created", object())


def test_the_twin_for_asyncio(mesh: VirtualMesh) -> None:
    [run] = asyncio.run(mesh.apublish_event("order.created", {"id": "o-2", "amount": 11}))
    assert run.result() == "charged o-2"
