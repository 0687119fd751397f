"""The address of a RabbitMQ, from a URL as RabbitMQ's own URI specification has it."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from taskmesh.errors import ConfigError

TLS_KEYS = ("cacertfile", "certfile", "keyfile", "server_name_indication")
"""What a URL may say about TLS: the certificate authority, the client's own certificate and key, the server's name."""

_PORTS = {"amqp": 5672, "amqps": 5671}


@dataclass(frozen=True, slots=True)
class AmqpUrl:
    """Where a RabbitMQ is. Its text shows no password."""

    host: str
    port: int
    vhost: str
    user: str
    password: str = field(repr=False)
    tls: dict[str, str] | None = None

    def __str__(self) -> str:
        return f"{'amqp' if self.tls is None else 'amqps'}://{self.host}:{self.port}"


def parse_amqp_url(url: str) -> AmqpUrl:
    """Take a URL like ``amqps://user:password@host:5671/vhost?cacertfile=ca.pem`` apart.

    :raises ConfigError: for another scheme, a port that is no number, or an unknown query key.
    """
    parts = urlsplit(url)
    if parts.scheme not in _PORTS:
        raise ConfigError(f"broker.url has the scheme {parts.scheme!r}; RabbitMQ is reached by 'amqp' or 'amqps'")
    return AmqpUrl(
        host=parts.hostname or "localhost",
        port=_port(parts),
        vhost=unquote(parts.path[1:]) or "/",
        user=unquote(parts.username or "guest"),
        password=unquote(parts.password or "guest"),
        tls=_tls(parts),
    )


def _port(parts: SplitResult) -> int:
    try:
        return parts.port or _PORTS[parts.scheme]
    except ValueError:
        raise ConfigError("broker.url has a port that is not a number from 1 to 65535") from None


def _tls(parts: SplitResult) -> dict[str, str] | None:
    options = dict(parse_qsl(parts.query))
    unknown = sorted(set(options) - set(TLS_KEYS))
    if unknown:
        raise ConfigError(f"broker.url has the unknown key {unknown[0]!r}; known are {', '.join(TLS_KEYS)}")
    if options and parts.scheme == "amqp":
        raise ConfigError(f"broker.url sets {min(options)!r}, which needs TLS; write amqps:// instead of amqp://")
    return options if parts.scheme == "amqps" else None
