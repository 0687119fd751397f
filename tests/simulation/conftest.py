"""A Redis of the simulations' own, which they empty again and again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis.connection import ConnectionPool

from tests.harness.redis import RedisServer, bundled_valkey, find_binary


@pytest.fixture(scope="session")
def redis_pool() -> Iterator[ConnectionPool]:
    with RedisServer(find_binary() or bundled_valkey(), overrides={"appendonly": "no"}) as server:
        pool = ConnectionPool.from_url(server.unix_url)
        yield pool
        pool.disconnect()
