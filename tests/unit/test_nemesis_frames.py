"""The proxy's cutters find the units of AMQP and of Redis's protocol, however the bytes arrive."""

from __future__ import annotations

import struct

import pytest

from tests.nemesis.frames import DELIVER, AmqpCutter, Cutter, RespCutter, Unit


def _frame(type_: int, payload: bytes, channel: int = 1) -> bytes:
    return struct.pack(">BHI", type_, channel, len(payload)) + payload + b"\xce"


def _delivery(body: bytes) -> bytes:
    header = struct.pack(">HHQH", 60, 0, len(body), 0)
    frames = [_frame(1, struct.pack(">HH", *DELIVER) + b"tag"), _frame(2, header)]
    return b"".join(frames + [_frame(3, body[at : at + 4]) for at in range(0, len(body), 4)])


def _units(cutter: Cutter, data: bytes, step: int) -> list[Unit]:
    return [unit for at in range(0, len(data), step) for unit in cutter.feed(data[at : at + step])]


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_amqp(step: int) -> None:
    heartbeat, ack = _frame(8, b"", 0), _frame(1, struct.pack(">HHQB", 60, 80, 3, 0))
    delivery, empty = _delivery(b"hello world"), _delivery(b"")
    units = _units(AmqpCutter(), b"AMQP\x00\x00\x09\x01" + heartbeat + delivery + ack + empty, step)
    assert [(unit.raw, unit.kind, unit.body) for unit in units[1:]] == [
        (heartbeat, None, b""),
        (delivery, DELIVER, b"hello world"),
        (ack, (60, 80), b""),
        (empty, DELIVER, b""),
    ]


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_redis_commands(step: int) -> None:
    commands = [b"*1\r\n$4\r\nPING\r\n", b"*3\r\n$7\r\nEVALSHA\r\n$2\r\nab\r\n$1\r\n0\r\n"]
    units = _units(RespCutter(replies=False), b"".join(commands), step)
    assert [unit.raw for unit in units] == commands
    assert [unit.kind for unit in units] == [(b"PING",), (b"EVALSHA", b"ab")]


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_redis_replies(step: int) -> None:
    replies = [
        b"+OK\r\n",
        b"-ERR no\r\n",
        b":1\r\n",
        b"$-1\r\n",
        b"$5\r\na\r\nbc\r\n",
        b"*2\r\n*1\r\n:1\r\n$0\r\n\r\n",
        b"*-1\r\n",
        b"%1\r\n+a\r\n:1\r\n",
    ]
    units = _units(RespCutter(replies=True), b"".join(replies), step)
    assert [unit.raw for unit in units] == replies
