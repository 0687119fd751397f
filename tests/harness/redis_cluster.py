"""A Redis Cluster of three local primaries, with a replica each where failovers are wanted."""

from __future__ import annotations

import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import redis
from redis.crc import key_slot

from tests.harness.ports import free_port
from tests.harness.redis import RedisServer

SLOTS = 16_384
NODES = 3
NODE_TIMEOUT_MS = 1_500
PATIENCE_SECONDS = 60.0
KEYS_PER_STEP = 5


class ClusterNode(RedisServer):
    """One node; ``bus_port`` is where the nodes talk to each other."""

    def __init__(self, binary: str | None = None) -> None:
        self.bus_port = free_port()
        settings = {
            "cluster-enabled": "yes",
            "cluster-port": str(self.bus_port),
            "cluster-node-timeout": str(NODE_TIMEOUT_MS),
            "cluster-replica-validity-factor": "0",
            "repl-diskless-sync-delay": "0",
        }
        super().__init__(binary, overrides=settings)

    @property
    def node_id(self) -> str:
        return str(self.ask("MYID"))

    def ask(self, *words: str | int) -> Any:
        """Run CLUSTER with these words."""
        with redis.Redis(port=self.port, decode_responses=True) as client:
            return client.execute_command("CLUSTER", *words)

    def take_slots(self, first: int, last: int) -> None:
        self.ask("ADDSLOTSRANGE", first, last)

    def meet(self, other: ClusterNode) -> None:
        self.ask("MEET", "127.0.0.1", other.port, other.bus_port)

    def follow(self, primary: ClusterNode) -> None:
        """Become a replica, and wait until it has all that the primary has."""
        self.process.wait_for(lambda: primary.node_id in str(self.ask("NODES")), "sight of its primary")
        self.ask("REPLICATE", primary.node_id)
        self.process.wait_for(lambda: self._replication().get("master_link_status") == "up", "link to its primary")

    @property
    def is_primary(self) -> bool:
        return bool(self._replication()["role"] == "master")

    def sees_whole_cluster(self, nodes: int) -> bool:
        info = str(self.ask("INFO"))
        return "cluster_state:ok" in info and f"cluster_known_nodes:{nodes}" in info

    def _replication(self) -> dict[str, Any]:
        with redis.Redis(port=self.port) as client:
            return dict(client.info("replication"))


class RedisCluster:
    """Three primaries that share the slots, and with ``replicas`` one replica of each, in the same order."""

    def __init__(self, binary: str | None = None, *, replicas: bool = False) -> None:
        self._binary = binary
        self._with_replicas = replicas
        self._open = ExitStack()
        self.nodes: list[ClusterNode] = []
        self.replicas: list[ClusterNode] = []

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> Self:
        """Start the nodes, share out the slots, and wait until every node sees the whole cluster."""
        self.nodes = self._started()
        for place, node in enumerate(self.nodes):
            node.take_slots(place * SLOTS // NODES, (place + 1) * SLOTS // NODES - 1)
        self.replicas = self._started() if self._with_replicas else []
        everyone = [*self.nodes, *self.replicas]
        for node in everyone:
            node.meet(self.nodes[0])
        for replica, primary in zip(self.replicas, self.nodes, strict=False):
            replica.follow(primary)
        for node in everyone:
            node.process.wait_for(lambda: all(each.sees_whole_cluster(len(everyone)) for each in everyone), "cluster")
        return self

    def owner_of(self, key: str) -> ClusterNode:
        """The primary that has the slot of a key, among those that were primaries at the start."""
        return self.nodes[slot_of(key) * NODES // SLOTS]

    def await_promotion(self, replica: ClusterNode) -> None:
        """Wait until a replica has taken the slots of its primary over."""
        replica.process.wait_for(lambda: replica.is_primary, "promotion", PATIENCE_SECONDS)

    def move_slot(self, slot: int, source: ClusterNode, target: ClusterNode, step_seconds: float) -> int:
        """Move a slot as redis-cli does, slowly, a few keys at a time; returns how many keys went."""
        self.begin_to_move(slot, source, target)
        moved = 0
        while names := source.ask("GETKEYSINSLOT", slot, KEYS_PER_STEP):
            migrate(source, target, names)
            moved += len(names)
            time.sleep(step_seconds)
        for node in (target, source, *self.nodes):
            node.ask("SETSLOT", slot, "NODE", target.node_id)
        return moved

    def begin_to_move(self, slot: int, source: ClusterNode, target: ClusterNode) -> None:
        """From now on the source sends on who asks for keys that it has not, or not any more."""
        target.ask("SETSLOT", slot, "IMPORTING", source.node_id)
        source.ask("SETSLOT", slot, "MIGRATING", target.node_id)

    def close(self) -> None:
        self._open.close()

    def tail(self) -> str:
        """The last lines of every node's log."""
        return "\n".join(f"--- port {node.port}\n{node.tail()}" for node in [*self.nodes, *self.replicas])

    def _started(self) -> list[ClusterNode]:
        return [self._open.enter_context(ClusterNode(self._binary)) for _ in range(NODES)]

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


def slot_of(key: str) -> int:
    return int(key_slot(key.encode()))


def migrate(source: ClusterNode, target: ClusterNode, names: list[str]) -> None:
    """Send keys of a slot that is being moved."""
    with redis.Redis(port=source.port) as client:
        client.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", *names)
