"""What the headers of a message in a dead-letter queue say: ours, and those of RabbitMQ when it gave the message up."""

from __future__ import annotations

import datetime
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

MAX_TEXT = 1000
"""Anybody may put anything into a queue; longer texts are cut."""

_PREFIX = "taskmesh-"
_LETTER_ID = re.compile(r"[0-9a-f]{16}")
_BY_BROKER: Mapping[str, tuple[str, str]] = {
    "delivery_limit": ("delivery_limit", "the broker gave it up: no worker acked it, however often it was delivered"),
    "expired": ("expired", "the broker gave it up: it had waited longer than a policy of the broker allows"),
    "maxlen": ("queue_full", "the broker gave it up: its queue was longer than a policy of the broker allows"),
    "rejected": ("rejected", "a consumer that is none of ours refused it"),
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a dead letter comes from, and why it is one. ``worker`` is empty when the broker gave it up."""

    letter_id: str
    at: float
    reason: str
    detail: str
    queue: str = ""
    routing_key: str = ""
    worker: str = ""


def headers_of(origin: Origin) -> dict[str, str]:
    """The headers that ``origin_of`` reads."""
    return {f"{_PREFIX}{each.name}": str(getattr(origin, each.name))[:MAX_TEXT] for each in fields(origin)}


def origin_of(headers: Mapping[str, Any], now: float) -> Origin:
    """Read the headers of a letter; whatever is in them, there is an answer."""
    if f"{_PREFIX}reason" in headers:
        return _ours(headers, now)
    deaths = headers.get("x-death")
    if isinstance(deaths, list) and deaths and isinstance(deaths[0], Mapping):
        return _brokers(deaths[0], now)
    return Origin(secrets.token_hex(8), now, "foreign", "somebody put it into the dead-letter queue without a reason")


def _ours(headers: Mapping[str, Any], now: float) -> Origin:
    texts = {each.name: _text(headers.get(f"{_PREFIX}{each.name}", "")) for each in fields(Origin)}
    known_id = _LETTER_ID.fullmatch(texts.pop("letter_id"))
    # With the id that it has, a letter that comes again is kept once.
    letter_id = known_id.group() if known_id else secrets.token_hex(8)
    return Origin(letter_id=letter_id, at=_time(texts.pop("at"), now), **texts)


def _brokers(death: Mapping[str, Any], now: float) -> Origin:
    word = _text(death.get("reason", ""))
    reason, detail = _BY_BROKER.get(word, ("given_up", f"the broker gave it up: {word or 'it does not say why'}"))
    at, keys = death.get("time"), death.get("routing-keys")
    return Origin(
        letter_id=secrets.token_hex(8),
        at=at.replace(tzinfo=datetime.UTC).timestamp() if isinstance(at, datetime.datetime) else now,
        reason=reason,
        detail=detail,
        queue=_text(death.get("queue", "")),
        routing_key=_text(keys[0]) if isinstance(keys, list) and keys else "",
    )


def _text(value: object) -> str:
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    # What JSON can say and UTF-8 cannot would be refused by the store for ever.
    return text[:MAX_TEXT].encode(errors="replace").decode()


def _time(text: str, now: float) -> float:
    try:
        return min(float(text), now) if float(text) > 0 else now
    except ValueError:
        return now
