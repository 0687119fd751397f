"""An order: reserve the stock, charge the customer, ship the parcel, tell the customer; or take it all back.

The services that the tasks talk to live in this process and answer by the order's id alone, so the app runs
anywhere and the same order always gives the same parcel, receipt and tracking number.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

from taskmesh import Mesh

SERVICE_SECONDS = 0.05
"""How long a service takes to answer."""

CARD_LIMIT = 10_000.0
"""A card is declined above this amount."""

mesh = Mesh()


class PaymentDeclinedError(Exception):
    """The bank said no."""


@mesh.task
def reserve(order_id: str) -> dict[str, str]:
    """Take the goods of an order out of the stock and put them in a parcel."""
    return {"parcel": _answer("parcel", order_id)}


@reserve.compensate
def release(order_id: str, result: dict[str, str]) -> str:
    """Take the goods out of the parcel again."""
    return _answer("release", order_id, result["parcel"])


@mesh.task
def charge(order_id: str, amount: float) -> dict[str, str | float]:
    """Charge the customer's card."""
    if amount < 0:
        raise ValueError(f"order {order_id}: the amount {amount} is negative")
    if amount > CARD_LIMIT:
        raise PaymentDeclinedError(f"order {order_id}: {amount} is over the limit of {CARD_LIMIT:g}")
    return {"receipt": _answer("receipt", order_id), "amount": amount}


@charge.compensate
def refund(order_id: str, result: dict[str, str | float]) -> str:
    """Give the customer's money back."""
    return _answer("refund", order_id, str(result["receipt"]))


@mesh.task
def ship(order_id: str, parcel: str) -> dict[str, str]:
    """Hand a parcel to the carrier."""
    return {"parcel": parcel, "tracking": _answer("tracking", order_id, parcel)}


@mesh.task
def notify(order_id: str, receipt: str, tracking: str) -> str:
    """Tell the customer; gives back what was said."""
    time.sleep(SERVICE_SECONDS)
    return f"order {order_id} is on its way: {tracking}, paid with {receipt}"


@mesh.flow(version="1", on_failure="compensate")
def order(order_id: str, amount: float = 0.0) -> Any:
    """The way of an order: the parcel is packed while nothing is charged yet, and shipped once it is paid."""
    stock = reserve(order_id)
    paid = charge(order_id, amount).after(stock)
    sent = ship(order_id, stock["parcel"]).after(paid)
    return notify(order_id, paid["receipt"], sent["tracking"])


def _answer(service: str, *question: str) -> str:
    time.sleep(SERVICE_SECONDS)
    return f"{service}-{hashlib.sha256('/'.join((service, *question)).encode()).hexdigest()[:8]}"
