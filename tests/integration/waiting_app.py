"""Flows that wait."""

from __future__ import annotations

from typing import Any

from taskmesh import Mesh
from tests.integration.control_app import leave_mark

mesh = Mesh()

AMOUNT = {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "number"}}}


@mesh.task
def ship(paid: Any = None, ok: Any = None) -> Any:
    leave_mark("ship")
    return {"paid": paid, "by": ok and ok["by"]}


@mesh.task
def mend(why: Any = None) -> str:
    leave_mark("mend")
    return "mended"


@mesh.flow
def order(nap: float) -> Any:
    slept = mesh.sleep(nap).named("nap")
    paid = mesh.wait_signal("paid", payload=AMOUNT)
    ok = mesh.approval("ok", "Ship it?").after(paid)
    return ship(paid, ok).after(slept)


@mesh.flow(timeout=3600)
def handled() -> Any:
    """What is rejected is mended."""
    ok = mesh.approval("ok", "Ship it?")
    return mend().after(ok).rule("any_failed")


@mesh.flow
def pinged() -> Any:
    return ship(mesh.wait_signal("ping", timeout=600))
