"""A Redis behind Sentinel: each new connection asks the sentinels which server is the primary now."""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from taskmesh.errors import ConfigError
from taskmesh.store.addresses import addresses
from taskmesh.store.tls import tls_options

SENTINEL_PORT = 26379

LOGIN_KEYS = ("sentinel_username", "sentinel_password")
"""What a URL may say beside the servers: how to log in to the sentinels, when they ask for it."""


def open_sentinel(url: str, options: dict[str, Any]) -> redis.Redis:
    """A client of the primary of ``redis+sentinel://[user:password@]host:port,host:port/SERVICE[/DB]``.

    User and password are those of the Redis servers. Nothing is connected yet.

    :raises ConfigError: the URL lacks the service, or has a part that cannot be right.
    """
    parts = urlsplit(url)
    service, database = _service(parts)
    options = {
        **options,
        **tls_options(parts, LOGIN_KEYS),
        "retry": Retry(NoBackoff(), 0),
        "ssl": parts.scheme.startswith("rediss"),
    }
    login = _sentinel_login(parts)
    sentinels = Sentinel(addresses(parts, SENTINEL_PORT), sentinel_kwargs={**options, **login})
    pool = SentinelConnectionPool(
        service,
        sentinels,
        db=database,
        username=_unquoted(parts.username),
        password=_unquoted(parts.password),
        **options,
    )
    return redis.Redis(connection_pool=pool)


def _service(parts: SplitResult) -> tuple[str, int]:
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise ConfigError(
            "store.url names no service; write redis+sentinel://host:26379,host:26379/SERVICE/0, "
            "with the name that the sentinels monitor it under"
        )
    if database and not database.isdecimal():
        raise ConfigError(f"store.url has the database {database!r} after its service; it must be a number")
    return unquote(service), int(database or 0)


def _sentinel_login(parts: SplitResult) -> dict[str, str]:
    given = dict(parse_qsl(parts.query))
    return {key.removeprefix("sentinel_"): given[key] for key in LOGIN_KEYS if key in given}


def _unquoted(text: str | None) -> str | None:
    return None if text is None else unquote(text)
