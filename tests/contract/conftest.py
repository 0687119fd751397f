"""One Redis as the store sees it, and as a stranger does who is no part of taskmesh."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from taskmesh.store.link import Link
from taskmesh.store.opening import open_link


@pytest.fixture
def link(redis_url: str) -> Iterator[Link]:
    link = open_link(redis_url, 2.0, 5.0)
    yield link
    link.close()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(redis_url)
    yield client
    client.close()
