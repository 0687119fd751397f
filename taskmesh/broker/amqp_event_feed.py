"""Listening to events on RabbitMQ, from now on: through a queue of this connection alone, which goes with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from pika import BlockingConnection
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

from taskmesh.broker.amqp_connection import connection_parameters
from taskmesh.broker.amqp_faults import brief
from taskmesh.broker.amqp_topology import EVENTS_EXCHANGE_TYPE
from taskmesh.broker.amqp_url import parse_amqp_nodes
from taskmesh.broker.protocol import events_exchange_name
from taskmesh.broker.settings import BrokerSettings
from taskmesh.errors import BrokerUnavailableError

NAME = "taskmesh events"

MAX_WAITING = 10_000
"""So many events wait for a listener that is slow; older ones go."""


@contextmanager
def listen_to_rabbitmq(settings: BrokerSettings, binding: str) -> Iterator[Iterator[bytes]]:
    """The bodies of the events whose routing keys match, as they come.

    :raises ConfigError: for a URL that cannot be right. :raises BrokerUnavailableError: no connection, or no more.
    """
    nodes = [connection_parameters(settings, url, NAME) for url in parse_amqp_nodes(settings.url)]
    with _translated(settings), closing(BlockingConnection(nodes)) as connection:
        channel = connection.channel()
        yield _bodies(channel, _bound_queue(channel, settings, binding))


def _bound_queue(channel: BlockingChannel, settings: BrokerSettings, binding: str) -> str:
    exchange = events_exchange_name(settings.namespace)
    channel.exchange_declare(exchange, EVENTS_EXCHANGE_TYPE, durable=True)
    queue: str = channel.queue_declare("", exclusive=True, arguments={"x-max-length": MAX_WAITING}).method.queue
    channel.queue_bind(queue, exchange, binding)
    return queue


def _bodies(channel: BlockingChannel, queue: str) -> Iterator[bytes]:
    for _, _, body in channel.consume(queue, auto_ack=True, exclusive=True):
        if body is not None:
            yield body


@contextmanager
def _translated(settings: BrokerSettings) -> Iterator[None]:
    try:
        yield
    except (AMQPError, OSError) as error:
        shown = ", ".join(str(each) for each in parse_amqp_nodes(settings.url))
        raise BrokerUnavailableError(f"RabbitMQ at {shown} does not let us hear of events: {brief(error)}") from None
