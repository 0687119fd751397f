"""One Redis as the store sees it, and as a stranger does who is no part of taskmesh."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from taskmesh.broker.settings import BrokerSettings
from taskmesh.store.link import Link
from taskmesh.store.opening import open_link
from tests.contract.broker_peers import administer, delete_pool


@pytest.fixture
def link(redis_url: str) -> Iterator[Link]:
    link = open_link(redis_url, 2.0, 5.0)
    yield link
    link.close()


@pytest.fixture(params=["redis_url", "valkey_url", "redis_cluster_url"])
def any_link(request: pytest.FixtureRequest) -> Iterator[Link]:
    """A store of every kind."""
    link = open_link(request.getfixturevalue(request.param), 2.0, 5.0)
    yield link
    link.close()


@pytest.fixture(params=["rabbitmq", "embedded"])
def settings(request: pytest.FixtureRequest, namespace: str) -> Iterator[BrokerSettings]:
    """A broker of either kind, with a pool of two shards that goes with the test."""
    rabbit = request.param == "rabbitmq"
    url: str = request.getfixturevalue("rabbitmq_url" if rabbit else "valkey_url")
    settings = BrokerSettings(url=url, namespace=namespace, shards=2)
    yield settings
    if rabbit:
        administer(url, lambda channel: delete_pool(channel, settings))


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(redis_url)
    yield client
    client.close()
