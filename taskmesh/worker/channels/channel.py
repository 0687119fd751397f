"""Messages over a stream socket between two processes of one worker.

A frame is four bytes of length and one packed value. The side with an event loop must never wait for the
other (an executor may be stuck for hours), so it buffers; the other side has threads that may wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

from taskmesh.errors import TooLargeError, WireError
from taskmesh.wire.codec import MAX_DECODED_BYTES, pack, unpack

MAX_FRAME_BYTES = MAX_DECODED_BYTES
RECEIVE_BYTES = 256 * 1024

_LENGTH = struct.Struct(">I")
_log = logging.getLogger(__name__)


def frame(message: object) -> bytes:
    """Encode one message.

    :raises TooLargeError: when the other side would refuse it.
    """
    body = pack(message)
    if len(body) > MAX_FRAME_BYTES:
        raise TooLargeError(f"a message of {len(body)} bytes; at most {MAX_FRAME_BYTES} fit a frame")
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Cuts a byte stream into messages."""

    def __init__(self, limit_bytes: int = MAX_FRAME_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """Take what was received; return the messages that are now complete.

        :raises WireError: when the stream cannot be understood any more.
        """
        self._buffer += data
        messages: list[Any] = []
        start = 0
        while (end := self._frame_end(start)) <= len(self._buffer):
            messages.append(unpack(bytes(self._buffer[start + _LENGTH.size : end]), self._limit_bytes))
            start = end
        del self._buffer[:start]
        return messages

    def _frame_end(self, start: int) -> int:
        body = start + _LENGTH.size
        if body > len(self._buffer):
            return body
        length: int = _LENGTH.unpack_from(self._buffer, start)[0]
        if length > self._limit_bytes:
            raise TooLargeError(f"a frame of {length} bytes; at most {self._limit_bytes} are allowed")
        return body + length


class BlockingChannel:
    """The side whose threads may wait. ``send`` may be called from any thread, ``receive`` from one."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        self._socket = sock
        self._reader = FrameReader()
        self._sending = threading.Lock()

    def send(self, message: object) -> None:
        """Wait until it is sent. What is sent to a process that is gone is dropped: ``receive`` tells of that."""
        data = frame(message)
        with self._sending, contextlib.suppress(ConnectionError):
            self._socket.sendall(data)

    def receive(self) -> list[Any]:
        """Wait for at least one message; an empty list means that the other side is gone."""
        while data := self._receive_some():
            if messages := self._reader.feed(data):
                return messages
        return []

    def _receive_some(self) -> bytes:
        try:
            return self._socket.recv(RECEIVE_BYTES)
        except ConnectionError:
            return b""


class LoopChannel:
    """The side with an event loop: buffers what cannot be sent at once, calls back for what arrives."""

    def __init__(
        self, sock: socket.socket, on_messages: Callable[[list[Any]], None], on_closed: Callable[[], None]
    ) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._on_messages = on_messages
        self._on_closed = on_closed
        self._reader = FrameReader()
        self._unsent = bytearray()
        self._open = False

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._open = True
        loop.add_reader(self._socket, self._receive)

    def send(self, message: object) -> None:
        """Send soon. What is sent to a process that is gone is dropped: its end is reported by itself."""
        if not self._open:
            return
        waiting = bool(self._unsent)
        self._unsent += frame(message)
        if not waiting:
            self._send_some()

    def close(self) -> None:
        """Read what is left, then close; doing it again does nothing."""
        while self._open and self._receive():
            pass
        self._shut()

    def _receive(self) -> bool:
        data = self._receive_some()
        if data:
            self._hand_over(data)
        elif data is not None:
            self._end()
        return bool(data)

    def _receive_some(self) -> bytes | None:
        try:
            return self._socket.recv(RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return b""

    def _hand_over(self, data: bytes) -> None:
        try:
            messages = self._reader.feed(data)
        except WireError as error:
            _log.error("closing a channel that carries what cannot be read: %s", error)
            self._end()
            return
        if messages:
            self._on_messages(messages)

    def _send_some(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            # Its end is found by the reading side, after everything that it still said has been read.
            self._loop.remove_writer(self._socket)
            self._unsent.clear()
            return
        del self._unsent[:sent]
        self._watch_writing()

    def _watch_writing(self) -> None:
        if self._unsent:
            self._loop.add_writer(self._socket, self._send_some)
        else:
            self._loop.remove_writer(self._socket)

    def _end(self) -> None:
        if self._open:
            self._shut()
            self._on_closed()

    def _shut(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
        self._socket.close()
