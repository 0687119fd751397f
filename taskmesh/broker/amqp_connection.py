"""pika's connection on the running asyncio loop: its parameters, and one write for many frames."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pika import ConnectionParameters, PlainCredentials, SSLOptions
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.exceptions import StreamLostError

from taskmesh.broker.amqp_url import AmqpUrl
from taskmesh.broker.settings import BrokerSettings
from taskmesh.errors import ConfigError

PIKA_ALLOWANCE_SECONDS = 5
"""pika looks for signs of life only so much later than the heartbeat that it was given, and needs up to two looks."""

HANDSHAKE_FACTOR = 2
"""TLS and the login of AMQP may take as long again as the TCP connection."""

_WRITE_BYTES = 65_536


class CorkedConnection(AsyncioConnection):
    """A connection that can hold its output back and send it in few large writes.

    pika makes a system call for every frame, three for a message: most of the cost of publishing.
    """

    _held: list[bytes] | None = None

    @contextmanager
    def corked(self) -> Iterator[None]:
        """Within this context output is gathered; it leaves at the end."""
        self._held = []
        try:
            yield
        finally:
            held, self._held = self._held, None
            if self.is_open:
                self._emit(held)

    def abort(self, reason: str) -> None:
        """Give the connection up without a word to the other side, which may be gone."""
        if not self.is_closed:
            self._terminate_stream(StreamLostError(reason))

    def _adapter_emit_data(self, data: bytes) -> None:
        if self._held is None:
            super()._adapter_emit_data(data)
        else:
            self._held.append(data)

    def _emit(self, held: list[bytes]) -> None:
        # Not all in one: what the socket does not take at once is copied as a whole for each further write.
        gathered: list[bytes] = []
        size = 0
        for data in held:
            gathered.append(data)
            size += len(data)
            if size >= _WRITE_BYTES:
                super()._adapter_emit_data(b"".join(gathered))
                gathered, size = [], 0
        if gathered:
            super()._adapter_emit_data(b"".join(gathered))


def connection_parameters(settings: BrokerSettings, url: AmqpUrl, name: str) -> ConnectionParameters:
    """What pika connects with; ``name`` is shown in RabbitMQ's list of connections.

    :raises ConfigError: when a certificate file of the URL cannot be read.
    """
    return ConnectionParameters(
        host=url.host,
        port=url.port,
        virtual_host=url.vhost,
        credentials=PlainCredentials(url.user, url.password, erase_on_connect=False),
        heartbeat=settings.heartbeat_seconds - PIKA_ALLOWANCE_SECONDS,
        socket_timeout=settings.connect_timeout_seconds,
        stack_timeout=settings.connect_timeout_seconds * HANDSHAKE_FACTOR,
        blocked_connection_timeout=settings.blocked_timeout_seconds,
        ssl_options=None if url.tls is None else _ssl_options(url.tls, url.host),
        client_properties={"connection_name": name, "product": "taskmesh"},
        tcp_options=_tcp_options(settings.heartbeat_seconds),
    )


def _tcp_options(heartbeat_seconds: int) -> dict[str, Any]:
    """A peer that acknowledges nothing for one heartbeat is gone; the kernel's own patience is a quarter of an hour."""
    return {
        "TCP_USER_TIMEOUT": heartbeat_seconds * 1_000,
        "TCP_KEEPIDLE": heartbeat_seconds,
        "TCP_KEEPINTVL": max(1, heartbeat_seconds // 3),
        "TCP_KEEPCNT": 3,
    }


def _ssl_options(tls: dict[str, str], host: str) -> SSLOptions:
    try:
        context = ssl.create_default_context(cafile=tls.get("cacertfile"))
        if "certfile" in tls:
            context.load_cert_chain(tls["certfile"], tls.get("keyfile"))
    except OSError as error:
        raise ConfigError(f"broker.url names a certificate that cannot be used: {error}") from None
    return SSLOptions(context, tls.get("server_name_indication", host))
