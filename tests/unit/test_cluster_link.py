"""A cluster whose nodes change: who does not answer is asked for elsewhere, the next time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import redis
from redis.cluster import RedisCluster

from taskmesh.errors import StoreUnavailableError
from taskmesh.store.cluster_link import ClusterLink
from taskmesh.store.link import Command


class DeadPool:
    """Of a node that is gone."""

    def get_connection(self) -> Any:
        raise redis.ConnectionError("refused")


class FakeCluster:
    """As much of redis-py's client as a link uses."""

    def __init__(self) -> None:
        self.asked = 0
        self.nodes_manager = SimpleNamespace(initialize=self._initialize)

    def _initialize(self) -> None:
        self.asked += 1

    def get_node_from_key(self, key: str) -> Any:
        return SimpleNamespace(name="dead:1")

    def get_redis_connection(self, node: Any) -> Any:
        return SimpleNamespace(connection_pool=DeadPool())


def test_a_node_that_does_not_answer_has_the_cluster_asked_again() -> None:
    cluster = FakeCluster()
    link = ClusterLink(cast("RedisCluster", cluster))
    for times_asked in (0, 1, 2):
        with pytest.raises(StoreUnavailableError):
            link.exchange([Command("key", "GET", "key")])
        assert cluster.asked == times_asked
