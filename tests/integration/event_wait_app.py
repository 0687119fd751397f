"""Flows that wait for events."""

from __future__ import annotations

from typing import Any

from taskmesh import Mesh
from tests.integration.marks import leave_mark

mesh = Mesh()


@mesh.task
def request(order_id: str) -> str:
    leave_mark("request")
    return order_id


@mesh.task
def answered(order_id: str) -> str:
    """The answer to what it asks for comes before it has returned."""
    mesh.publish_event("paid", {"order": {"id": order_id}, "amount": 1}, id=f"answer-{order_id}")
    return order_id


@mesh.task
def ship(amount: Any) -> Any:
    leave_mark("ship")
    return amount


@mesh.flow
def order(order_id: str) -> Any:
    asked = request(order_id)
    paid = mesh.wait_event("paid", "paid", match={"order.id": asked}, filter="event.data.amount > 0", timeout=7200)
    return ship(paid["amount"])


@mesh.flow
def quick(order_id: str) -> Any:
    asked = answered(order_id)
    paid = mesh.wait_event("paid", "paid", match={"order.id": asked}, timeout=7200)
    return ship(paid["amount"])


@mesh.flow
def opened() -> Any:
    return mesh.wait_event("opened", "market.opened", match={})
