"""Which node of a RabbitMQ cluster a connection goes to next."""

from __future__ import annotations

import random

from pika import ConnectionParameters

from taskmesh.broker.amqp_connection import connection_parameters
from taskmesh.broker.amqp_url import AmqpUrl, parse_amqp_nodes
from taskmesh.broker.settings import BrokerSettings


class AmqpNodes:
    """The nodes of ``broker.url``, one after the other, in an order of chance: so processes spread over all of them."""

    def __init__(self, settings: BrokerSettings, name: str) -> None:
        """``name`` is shown in RabbitMQ's list of connections.

        :raises ConfigError: for a URL that cannot be right.
        """
        urls = list(parse_amqp_nodes(settings.url))
        random.shuffle(urls)
        self._nodes = [(url, connection_parameters(settings, url, name)) for url in urls]
        self._at = 0

    @property
    def url(self) -> AmqpUrl:
        """The node whose turn it is."""
        return self._nodes[self._at][0]

    @property
    def parameters(self) -> ConnectionParameters:
        """What pika connects to that node with."""
        return self._nodes[self._at][1]

    def turn(self) -> None:
        """The node has failed: it is the next one's turn."""
        self._at = (self._at + 1) % len(self._nodes)

    def rounds(self, failures: int) -> int:
        """How often all of them have failed: only then is it worth waiting longer."""
        return (failures + len(self._nodes) - 1) // len(self._nodes)
