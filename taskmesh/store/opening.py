"""From a URL to a link."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry

from taskmesh.errors import ConfigError, StoreUnavailableError
from taskmesh.store.addresses import addresses
from taskmesh.store.cluster_link import ClusterLink
from taskmesh.store.link import DirectLink, Link
from taskmesh.store.sentinel import open_sentinel
from taskmesh.store.tls import tls_options

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
DEFAULT_PORT = 6379


def open_link(url: str, connect_timeout_seconds: float, socket_timeout_seconds: float) -> Link:
    """A link to a server, to the primary behind Sentinel, or to a cluster; only the last connects at once.

    :raises ConfigError: for a URL that is none, or of an unknown scheme.
    :raises StoreUnavailableError: when no node of a cluster answers.
    """
    scheme = urlsplit(url).scheme
    if scheme not in SCHEMES:
        raise ConfigError(f"store.url has the scheme {scheme!r}; known are {', '.join(SCHEMES)}")
    options: dict[str, Any] = {
        "socket_connect_timeout": connect_timeout_seconds,
        "socket_timeout": socket_timeout_seconds,
        "health_check_interval": 0,
    }
    if scheme.endswith("+cluster"):
        return _open_cluster(url, options)
    if scheme.endswith("+sentinel"):
        return DirectLink(open_sentinel(url, options))
    # redis-py reads them from the URL by itself.
    tls_options(urlsplit(url), others=("db",))
    try:
        # A batch must not be sent twice behind our back: whoever calls decides, and knows that it may have happened.
        client = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **options)
    except ValueError as error:
        raise ConfigError(f"store.url is not a Redis URL: {error}") from None
    return DirectLink(client)


def _open_cluster(url: str, options: dict[str, Any]) -> Link:
    parts = urlsplit(url)
    nodes = [ClusterNode(host, port) for host, port in addresses(parts, DEFAULT_PORT)]
    try:
        client = RedisCluster(
            startup_nodes=nodes,
            username=parts.username,
            password=parts.password,
            ssl=parts.scheme.startswith("rediss"),
            **tls_options(parts),
            **options,
        )
    except ValueError as error:
        raise ConfigError(f"store.url is not a Redis Cluster URL: {error}") from None
    except redis.RedisError as error:
        raise StoreUnavailableError(f"no node of the Redis Cluster answers: {error}") from None
    return ClusterLink(client)
