"""Connections of a node of type http: to an address that was checked, and none later than the node's time.

httpcore asks its network backend for each connection, and keeps to the name for TLS and the Host header. So the one
look at the name, the check of every address and the connection to one of those are a single step here: an answer of
the name server that changes afterwards changes nothing.
"""

from __future__ import annotations

import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import httpcore

from taskmesh.clock import Clock
from taskmesh.errors import NodeUnavailableError
from taskmesh.plugins.builtin.http_rules import HttpRules

Resolver: TypeAlias = Callable[[str, int], Sequence[str]]
"""All addresses of a name."""


class Deadline:
    """How long something may take, all in all."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._end = clock.monotonic() + seconds

    def left(self) -> float:
        """Seconds, more than 0.

        :raises NodeUnavailableError: the time is over.
        """
        left = self._end - self._clock.monotonic()
        if left <= 0:
            raise self.over()
        return left

    def over(self) -> NodeUnavailableError:
        return NodeUnavailableError(f"the answer was not complete after {self._seconds:g} s")


def system_resolver(host: str, port: int) -> list[str]:
    """The addresses that the system knows for a name."""
    return list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


class PinnedBackend(httpcore.NetworkBackend):
    """Opens connections for one node."""

    def __init__(self, rules: HttpRules, deadline: Deadline, resolve: Resolver) -> None:
        self._rules = rules
        self._deadline = deadline
        self._resolve = resolve

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """:raises NodeRefusedError: one of the addresses is refused; then none is used."""
        addresses = [self._rules.checked(host, found) for found in self._addresses(host, port)]
        for place, address in enumerate(addresses):
            # Each that is left gets its share: one that swallows everything shall not be the end of all.
            seconds = self._deadline.left() / (len(addresses) - place)
            try:
                return TimedStream(socket.create_connection((address, port), seconds), self._deadline)
            except OSError as error:
                last = error
        raise NodeUnavailableError(f"{host} cannot be reached: {last.strerror or last}")

    def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.NetworkStream:
        raise httpcore.UnsupportedProtocol("only TCP is used here")

    def _addresses(self, host: str, port: int) -> Sequence[str]:
        """Looked up in a thread: the system's own patience with its name servers has no bound that could be given."""
        answers: queue.SimpleQueue[Sequence[str] | OSError] = queue.SimpleQueue()

        def look() -> None:
            try:
                answers.put(self._resolve(host, port))
            except (OSError, UnicodeError) as error:
                answers.put(error if isinstance(error, OSError) else OSError(str(error)))

        threading.Thread(target=look, name="taskmesh-resolve", daemon=True).start()
        try:
            answer = answers.get(timeout=self._deadline.left())
        except queue.Empty:
            raise self._deadline.over() from None
        if isinstance(answer, OSError) or not answer:
            raise NodeUnavailableError(f"no address is known for {host}")
        return answer


class TimedStream(httpcore.NetworkStream):
    """A connection each of whose operations has no more time than is left for all."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._connection = connection
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._connection.settimeout(self._deadline.left())
        return self._connection.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        view = memoryview(buffer)
        while view:
            self._connection.settimeout(self._deadline.left())
            view = view[self._connection.send(view) :]

    def close(self) -> None:
        self._connection.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        self._connection.settimeout(self._deadline.left())
        try:
            secured = ssl_context.wrap_socket(self._connection, server_hostname=server_hostname)
        except BaseException:
            self.close()
            raise
        return TimedStream(secured, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object" and isinstance(self._connection, ssl.SSLSocket):
            return self._connection
        return None
