"""Where a dead letter comes from is read from its headers, whoever wrote them."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from taskmesh.worker.letters.headers import MAX_TEXT, Origin, headers_of, origin_of

OURS = Origin("0123456789abcdef", 12.5, "undecodable", "not msgpack", "ns.default.0", "key", "me")
NOW = 100.0


def test_what_is_written_is_read() -> None:
    assert origin_of(headers_of(OURS), NOW) == OURS


def test_what_rabbitmq_gave_up() -> None:
    death = {
        "reason": "delivery_limit",
        "queue": "ns.default.1",
        "time": datetime.datetime(1970, 1, 1, 0, 0, 7),
        "exchange": "ns.default",
        "routing-keys": ["run-1"],
        "count": 1,
    }
    origin = origin_of({"x-death": [death], "x-first-death-reason": "delivery_limit"}, NOW)
    assert (origin.reason, origin.queue, origin.routing_key, origin.at, origin.worker) == (
        "delivery_limit",
        "ns.default.1",
        "run-1",
        7.0,
        "",
    )


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "foreign"),
        ({"x-death": "nonsense"}, "foreign"),
        ({"x-death": [1]}, "foreign"),
        ({"x-death": [{}]}, "given_up"),
        ({"x-death": [{"reason": 7, "time": 7, "routing-keys": 7, "queue": None}]}, "given_up"),
        ({"taskmesh-reason": b"\xff", "taskmesh-at": "never", "taskmesh-letter_id": "../x"}, "\ufffd"),
        ({"taskmesh-reason": "\ud800", "taskmesh-at": "nan"}, "?"),
        ({"taskmesh-reason": "x" * 5000, "taskmesh-at": "1e400"}, "x" * MAX_TEXT),
    ],
)
def test_any_headers_make_a_letter(headers: dict[str, Any], reason: str) -> None:
    origin = origin_of(headers, NOW)
    assert (origin.reason, origin.at) == (reason, NOW)
    assert len(origin.letter_id) == 16
    for text in (origin.reason, origin.detail, origin.queue, origin.routing_key, origin.worker):
        text.encode()
