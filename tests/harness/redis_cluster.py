"""A Redis Cluster of three local nodes without replicas."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self

import redis

from tests.harness.ports import free_port
from tests.harness.redis import RedisServer

SLOTS = 16_384
NODES = 3


class ClusterNode(RedisServer):
    """One node; ``bus_port`` is where the nodes talk to each other."""

    def __init__(self, binary: str | None = None) -> None:
        self.bus_port = free_port()
        super().__init__(binary, overrides={"cluster-enabled": "yes", "cluster-port": str(self.bus_port)})

    def take_slots(self, first: int, last: int) -> None:
        with self._client() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)

    def meet(self, other: ClusterNode) -> None:
        with self._client() as client:
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", other.port, other.bus_port)

    def sees_whole_cluster(self) -> bool:
        with self._client() as client:
            info = str(client.execute_command("CLUSTER", "INFO"))
        return "cluster_state:ok" in info and f"cluster_known_nodes:{NODES}" in info

    def _client(self) -> redis.Redis:
        return redis.Redis(port=self.port, decode_responses=True)


class RedisCluster:
    """Three nodes that share the slots."""

    def __init__(self, binary: str | None = None) -> None:
        self._binary = binary
        self._open = ExitStack()
        self.nodes: list[ClusterNode] = []

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> Self:
        """Start the nodes, share out the slots, and wait until every node sees the whole cluster."""
        self.nodes = [self._open.enter_context(ClusterNode(self._binary)) for _ in range(NODES)]
        for place, node in enumerate(self.nodes):
            node.take_slots(place * SLOTS // NODES, (place + 1) * SLOTS // NODES - 1)
            node.meet(self.nodes[0])
        for node in self.nodes:
            node.process.wait_for(node.sees_whole_cluster, "whole cluster")
        return self

    def close(self) -> None:
        self._open.close()

    def tail(self) -> str:
        """The last lines of every node's log."""
        return "\n".join(node.tail() for node in self.nodes)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
