"""Requests of one node, with httpcore: no proxies from the environment, no cookies, no redirects, no decompression."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping

import httpcore

from taskmesh.errors import NodeFailedError, NodeUnavailableError
from taskmesh.plugins.builtin.http_answer import Answer
from taskmesh.plugins.builtin.http_network import Deadline, PinnedBackend, Resolver
from taskmesh.plugins.builtin.http_rules import HttpRules, Target


class Exchange:
    """Asks, once or for several redirects in a row; the time is for all of it."""

    def __init__(
        self,
        rules: HttpRules,
        deadline: Deadline,
        max_bytes: int,
        tls: Callable[[], ssl.SSLContext],
        resolve: Resolver,
    ) -> None:
        self._max_bytes = max_bytes
        self._tls = tls
        self._deadline = deadline
        self._backend = PinnedBackend(rules, deadline, resolve)

    def ask(self, target: Target, method: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        """:raises NodeFailedError: what is no answer, or too large. :raises NodeUnavailableError: there is none."""
        context = self._tls() if target.scheme == "https" else None
        try:
            with httpcore.ConnectionPool(ssl_context=context, network_backend=self._backend) as pool:
                return self._exchanged(pool, target, method, headers, body)
        except TimeoutError:
            raise self._deadline.over() from None
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", "") or error.reason or "TLS failed"
            raise NodeUnavailableError(f"{target.origin} cannot be trusted: {reason}") from None
        except OSError as error:
            raise NodeUnavailableError(f"{target.origin} broke the connection: {error.strerror or error}") from None
        except httpcore.RemoteProtocolError as error:
            raise NodeUnavailableError(f"{target.origin} gave no whole answer: {error}") from None
        except httpcore.LocalProtocolError:
            # Its text repeats the header that is at fault, which may hold a secret.
            raise NodeFailedError("a header or the body of this node cannot be sent by HTTP/1.1") from None

    def _exchanged(
        self, pool: httpcore.ConnectionPool, target: Target, method: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        url = httpcore.URL(
            scheme=target.scheme.encode(), host=target.host.encode(), port=target.port, target=target.path.encode()
        )
        sent = {"host": target.authority, "accept-encoding": "identity", "connection": "close", **headers}
        with pool.stream(method, url, headers=[*sent.items()], content=body) as response:
            found = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.headers]
            return Answer(response.status, found, self._body(response, target))

    def _body(self, response: httpcore.Response, target: Target) -> bytes:
        gathered: list[bytes] = []
        size = 0
        for part in response.iter_stream():
            size += len(part)
            if size > self._max_bytes:
                raise NodeFailedError(f"the body of {target.origin} has more than {self._max_bytes} bytes")
            gathered.append(part)
        return b"".join(gathered)


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Trusts the well-known authorities, and those of a file.

    :raises NodeFailedError: the file cannot be used.
    """
    context = httpcore.default_ssl_context()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:
            raise NodeFailedError(f"plugins.http_ca_file cannot be used: {error.strerror or error}") from None
    return context
