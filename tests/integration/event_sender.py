"""Somebody who sends events, and knows AMQP and nothing of taskmesh."""

from __future__ import annotations

from typing import Any

from taskmesh.broker.protocol import inbound_events_name
from tests.contract.broker_peers import administer
from tests.integration.mesh_bench import MeshBench


class EventSender:
    """Publishes to the exchange of a bench's mesh, and looks into its queue."""

    def __init__(self, bench: MeshBench) -> None:
        self._url = bench.environ["TASKMESH_BROKER_URL"]
        self._name = inbound_events_name(bench.environ["TASKMESH_NAMESPACE"])

    def send(self, *bodies: bytes) -> None:
        """Returns when the broker has all of them."""

        def publish(channel: Any) -> None:
            channel.confirm_delivery()
            for body in bodies:
                channel.basic_publish(self._name, "any.key", body, mandatory=True)

        administer(self._url, publish)

    def waiting(self) -> int:
        """How many are in the queue that nobody has been given."""
        counts: list[int] = []
        administer(
            self._url,
            lambda channel: counts.append(channel.queue_declare(self._name, passive=True).method.message_count),
        )
        return counts[0]
