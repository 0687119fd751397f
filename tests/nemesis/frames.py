"""Cuts the bytes of one direction of a connection into the units of its protocol, without changing any of them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

PUBLISH, DELIVER, RETURN, GET_OK = (60, 40), (60, 60), (60, 50), (60, 71)
CONFIRM, NACK = (60, 80), (60, 120)
WITH_CONTENT = frozenset({PUBLISH, DELIVER, RETURN, GET_OK})

_METHOD, _HEADER, _BODY = 1, 2, 3
_FRAME_HEAD = struct.Struct(">BHI")
_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"


@dataclass(frozen=True, slots=True)
class Unit:
    """Bytes that belong together. ``kind``: an AMQP method, a Redis command's words, "reply", or None for the rest.

    ``body`` is the content of a message.
    """

    raw: bytes
    kind: object = None
    body: bytes = b""


class Cutter(Protocol):
    """Takes bytes as they come, gives whole units."""

    def feed(self, data: bytes) -> Iterator[Unit]: ...


class AmqpCutter:
    """AMQP 0-9-1 in one direction; a method with content is one unit with its header and body frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._content: dict[int, _Content] = {}

    def feed(self, data: bytes) -> Iterator[Unit]:
        self._buffer += data
        if self._buffer.startswith(b"AMQP") and len(self._buffer) >= len(_PROTOCOL_HEADER):
            yield Unit(self._take(len(_PROTOCOL_HEADER)))
        while frame := self._next_frame():
            unit = self._unit(frame)
            if unit is not None:
                yield unit

    def _next_frame(self) -> bytes:
        if len(self._buffer) < _FRAME_HEAD.size or self._buffer.startswith(b"AMQP"):
            return b""
        size = _FRAME_HEAD.unpack_from(self._buffer)[2] + _FRAME_HEAD.size + 1
        return self._take(size) if len(self._buffer) >= size else b""

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _unit(self, frame: bytes) -> Unit | None:
        type_, channel, _ = _FRAME_HEAD.unpack_from(frame)
        if type_ == _METHOD:
            method = struct.unpack_from(">HH", frame, _FRAME_HEAD.size)
            if method not in WITH_CONTENT:
                return Unit(frame, method)
            self._content[channel] = _Content(method)
        content = self._content.get(channel)
        if content is None:
            return Unit(frame)
        return self._content.pop(channel).unit() if content.add(type_, frame) else None


class _Content:
    """A method with content, as far as it has come."""

    def __init__(self, method: object) -> None:
        self._method = method
        self._raw = bytearray()
        self._body = bytearray()
        self._size: int | None = None

    def add(self, type_: int, frame: bytes) -> bool:
        """Whether that was the last frame of it."""
        self._raw += frame
        if type_ == _HEADER:
            self._size = struct.unpack_from(">Q", frame, _FRAME_HEAD.size + 4)[0]
        elif type_ == _BODY:
            self._body += frame[_FRAME_HEAD.size : -1]
        return self._size is not None and len(self._body) >= self._size

    def unit(self) -> Unit:
        return Unit(bytes(self._raw), self._method, bytes(self._body))


class RespCutter:
    """Redis's protocol in one direction: each unit is one command, or one whole reply."""

    def __init__(self, *, replies: bool) -> None:
        self._replies = replies
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[Unit]:
        self._buffer += data
        at = 0
        while (end := _end_of_value(self._buffer, at)) is not None:
            raw = self._buffer[at:end]
            yield Unit(raw, "reply" if self._replies else tuple(_words(raw)))
            at = end
        self._buffer = self._buffer[at:]


def _end_of_value(data: bytes, at: int) -> int | None:
    """Where the value that begins at ``at`` ends; None when not all of it is there."""
    line_end = data.find(b"\r\n", at)
    if line_end < 0:
        return None
    type_, rest, end = data[at : at + 1], data[at + 1 : line_end], line_end + 2
    if type_ in b"$=!":
        size = int(rest)
        end += 0 if size < 0 else size + 2
        return end if end <= len(data) else None
    if type_ in b"*~>%":
        return _end_of_values(data, end, int(rest) * (2 if type_ == b"%" else 1))
    return end


def _end_of_values(data: bytes, at: int, count: int) -> int | None:
    for _ in range(count):
        end = _end_of_value(data, at)
        if end is None:
            return None
        at = end
    return at


def _words(raw: bytes) -> Iterator[bytes]:
    """The first words of a command: what it is, and which script."""
    at = raw.index(b"\r\n") + 2
    for _ in range(min(2, int(raw[1 : at - 2]))):
        head_end = raw.index(b"\r\n", at)
        size = int(raw[at + 1 : head_end])
        yield raw[head_end + 2 : head_end + 2 + size]
        at = head_end + 2 + size + 2
