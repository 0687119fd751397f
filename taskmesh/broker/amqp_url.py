"""The nodes of a RabbitMQ, from a URL as RabbitMQ's own URI specification has it, but with one host or several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from taskmesh.errors import ConfigError

TLS_KEYS = ("cacertfile", "certfile", "keyfile", "server_name_indication")
"""What a URL may say about TLS: the certificate authority, the client's own certificate and key, the server's name."""

_PORTS = {"amqp": 5672, "amqps": 5671}


@dataclass(frozen=True, slots=True)
class AmqpUrl:
    """Where one node of RabbitMQ is. Its text shows no password."""

    host: str
    port: int
    vhost: str
    user: str
    password: str = field(repr=False)
    tls: dict[str, str] | None = field(default=None, hash=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'amqp' if self.tls is None else 'amqps'}://{host}:{self.port}"


def parse_amqp_nodes(url: str) -> tuple[AmqpUrl, ...]:
    """Take a URL like ``amqps://user:password@host:5671/vhost?cacertfile=ca.pem`` apart: one address for each node.

    The nodes of a cluster are written with commas, ``amqp://user:password@one:5672,two:5672,three:5672/vhost``; they
    have one user, one virtual host and one way of TLS.

    :raises ConfigError: for another scheme, a port that is no number, an empty host, or an unknown query key.
    """
    parts = urlsplit(url)
    if parts.scheme not in _PORTS:
        raise ConfigError(f"broker.url has the scheme {parts.scheme!r}; RabbitMQ is reached by 'amqp' or 'amqps'")
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    tls = _tls(parts)
    return tuple(
        AmqpUrl(
            host=host,
            port=port or _PORTS[parts.scheme],
            vhost=unquote(parts.path[1:]) or "/",
            user=unquote(user or "guest"),
            password=unquote(password or "guest"),
            tls=tls,
        )
        for host, port in _addresses(hosts)
    )


def _addresses(hosts: str) -> Iterator[tuple[str, int | None]]:
    if not hosts:
        yield "localhost", None
        return
    for text in hosts.split(","):
        address = urlsplit(f"//{text.strip()}")
        if not address.hostname:
            raise ConfigError("broker.url has an empty host; write host:port,host:port with one comma between two")
        try:
            yield address.hostname, address.port
        except ValueError:
            raise ConfigError(
                f"broker.url has, for the host {address.hostname!r}, a port that is not a number from 1 to 65535"
            ) from None


def _tls(parts: SplitResult) -> dict[str, str] | None:
    options = dict(parse_qsl(parts.query))
    unknown = sorted(set(options) - set(TLS_KEYS))
    if unknown:
        raise ConfigError(f"broker.url has the unknown key {unknown[0]!r}; known are {', '.join(TLS_KEYS)}")
    if options and parts.scheme == "amqp":
        raise ConfigError(f"broker.url sets {min(options)!r}, which needs TLS; write amqps:// instead of amqp://")
    return options if parts.scheme == "amqps" else None
