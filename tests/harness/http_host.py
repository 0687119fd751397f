"""An HTTP server on loopback that answers, byte for byte, what a test says."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import TypeAlias

Answerer: TypeAlias = Callable[[socket.socket, bytes], None]
"""Gets the connection and the request."""

MAX_REQUEST = 256 * 1024
"""A longer one is answered before it has been read."""

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


class HttpHost:
    """Gives each connection to ``answer``, in a thread of its own; keeps the requests."""

    def __init__(self, answer: Answerer, context: ssl.SSLContext | None = None) -> None:
        self._answer = answer
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[bytes] = []
        self.names: list[str | None] = []
        self.gone = threading.Event()
        if context is not None:
            context.sni_callback = lambda _, name, __: self.names.append(name)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        # A thread that is in accept() would take one more.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection:
                request = b""
                while not _is_whole(request):
                    part = connection.recv(65_536)
                    if not part:
                        return
                    request += part
                self.requests.append(request)
                self._answer(connection, request)
        self.gone.set()


def _is_whole(request: bytes) -> bool:
    head, end, body = request.partition(b"\r\n\r\n")
    length = _LENGTH.search(head + b"\r\n")
    return len(request) > MAX_REQUEST or (bool(end) and len(body) >= int(length[1] if length else 0))


@contextlib.contextmanager
def http_host(answer: Answerer | bytes, context: ssl.SSLContext | None = None) -> Iterator[HttpHost]:
    """A host, while the block runs; bytes are the same answer to every request."""
    host = HttpHost(answer if callable(answer) else lambda connection, _: connection.sendall(answer), context)
    try:
        yield host
    finally:
        host.close()


def reply(status: str = "200 OK", body: bytes = b"", *headers: str) -> bytes:
    """An answer, complete."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body
