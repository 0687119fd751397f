"""A RabbitMQ cluster of three local nodes, any of which may be killed or stopped."""

from __future__ import annotations

import json
import signal
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Self

from tests.harness.rabbitmq import RabbitServer

NODES = 3
WHOLE_SECONDS = 90.0

SILENCE_SECONDS = 8
"""A node that says nothing for so long is taken for gone by the others (Erlang's net_ticktime; its default is 60)."""

ERLANG = f"+S 1:1 -kernel net_ticktime {SILENCE_SECONDS}"


class RabbitCluster:
    """Three nodes with one epmd; each pauses when it sees no majority, and the leaders of queues are spread."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self.nodes: list[RabbitServer] = []
        self._frozen: list[RabbitServer] = []

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{','.join(f'127.0.0.1:{node.port}' for node in self.nodes)}/%2F"

    def start(self) -> Self:
        """Start the first node, have the others join it, and wait until all see all."""
        first = self._open.enter_context(RabbitServer(overrides=_settings(None), erlang=ERLANG))
        self.nodes = [first]
        for _ in range(NODES - 1):
            joining = RabbitServer(overrides=_settings(first), epmd_port=first.epmd_port, erlang=ERLANG)
            self.nodes.append(self._open.enter_context(joining))
        self.await_whole()
        return self

    def await_whole(self) -> None:
        """Wait until every node runs and sees the others."""
        for node in self.nodes:
            node.process.wait_for(partial(_sees_all, node), "whole cluster", WHOLE_SECONDS)

    def settle(self) -> None:
        """Wait until the queues declared so far would survive the kill of any node; see ``RabbitServer.settle``."""
        for node in self.nodes:
            node.settle()

    def leader_of(self, queue: str) -> RabbitServer:
        """The node that leads a quorum queue."""
        rows = json.loads(self.nodes[0].ctl("list_queues", "name", "leader", "--formatter", "json"))
        leaders = {row["name"]: row["leader"] for row in rows}
        return next(node for node in self.nodes if node.node == leaders[queue])

    def members_of(self, queue: str) -> int:
        """How many nodes keep a quorum queue."""
        rows = json.loads(self.nodes[0].ctl("list_queues", "name", "members", "--formatter", "json"))
        return next(len(row["members"]) for row in rows if row["name"] == queue)

    def freeze(self, node: RabbitServer) -> None:
        """Stop a node as a machine that hangs: its connections stay open, and nothing answers."""
        self._frozen.append(node)
        node.process.signal(signal.SIGSTOP)

    def mend(self) -> None:
        """Start again what was killed or stopped, and wait until all see all."""
        # A node that was away without noticing it would have to be restarted anyway: RabbitMQ takes it for partitioned.
        while self._frozen:
            self._frozen.pop().kill9()
        for node in self.nodes:
            if not node.process.running:
                node.start()
        self.await_whole()

    def close(self) -> None:
        self._open.close()

    def tail(self) -> str:
        """The last lines of every node's log."""
        return "\n".join(f"--- {node.node}\n{node.tail()}" for node in self.nodes)

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


def _settings(first: RabbitServer | None) -> dict[str, str]:
    settings = {
        "vm_memory_high_watermark.absolute": "400MB",
        "cluster_partition_handling": "pause_minority",
        "queue_leader_locator": "balanced",
    }
    if first is not None:
        settings["cluster_formation.peer_discovery_backend"] = "classic_config"
        settings["cluster_formation.classic_config.nodes.1"] = first.node
    return settings


def _sees_all(node: RabbitServer) -> bool:
    status = json.loads(node.ctl("cluster_status", "--formatter", "json"))
    return len(status["running_nodes"]) == NODES
