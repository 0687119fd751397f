"""Publishes one message of a user's own, on a connection of its own, and waits until RabbitMQ has it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pika import BasicProperties, BlockingConnection
from pika.exceptions import AMQPError, NackError, UnroutableError

from taskmesh.broker.amqp_connection import connection_parameters
from taskmesh.broker.amqp_faults import brief, login_fault
from taskmesh.broker.amqp_url import AmqpUrl, parse_amqp_nodes
from taskmesh.broker.settings import BrokerSettings
from taskmesh.errors import BrokerUnavailableError, UsageError

NAME = "taskmesh publish node"
PERSISTENT = 2


@dataclass(frozen=True, slots=True)
class Message:
    """What to publish, and where. ``exchange`` is empty for the default one."""

    exchange: str
    routing_key: str
    body: bytes
    content_type: str
    message_id: str
    headers: Mapping[str, Any] = field(default_factory=dict)


def publish_message(settings: BrokerSettings, message: Message) -> None:
    """Publish, persistent and confirmed, to the first node of RabbitMQ that can be reached.

    After an error it may have been published all the same.

    :raises ConfigError: for a URL that cannot be right. :raises UsageError: it leads to no queue.
    :raises BrokerUnavailableError: no confirm in time, or a refusal.
    """
    nodes = parse_amqp_nodes(settings.url)
    ended: list[Exception | None] = []
    # pika waits for a confirm for ever, and a cluster without a majority gives none.
    working = threading.Thread(target=lambda: ended.append(_published(settings, nodes, message)), daemon=True)
    working.start()
    working.join(settings.confirm_timeout_seconds)
    error = (
        ended[0]
        if ended
        else BrokerUnavailableError(
            f"RabbitMQ at {nodes[0]} did not confirm within {settings.confirm_timeout_seconds:g} s"
        )
    )
    if error is not None:
        raise error


def _published(settings: BrokerSettings, nodes: tuple[AmqpUrl, ...], message: Message) -> Exception | None:
    """What went wrong; None where nothing did. Only a connection that was not made is worth another node."""
    for node in nodes:
        try:
            connection = BlockingConnection(connection_parameters(settings, node, NAME))
        except (AMQPError, OSError) as error:
            found = login_fault(error, node)
            fault = BrokerUnavailableError(
                f"RabbitMQ at {node} cannot be used: {found.what if found else brief(error)}"
            )
            continue
        except UsageError as error:
            return error
        return _sent(connection, node, message)
    return fault


def _sent(connection: BlockingConnection, node: AmqpUrl, message: Message) -> Exception | None:
    where = f"exchange {message.exchange or 'amq.default'!r}"
    make: Callable[..., BasicProperties] = BasicProperties
    properties = make(
        content_type=message.content_type,
        message_id=message.message_id,
        headers=dict(message.headers),
        delivery_mode=PERSISTENT,
    )
    try:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish(message.exchange, message.routing_key, message.body, properties, mandatory=True)
    except UnroutableError:
        return UsageError(f"{where} of RabbitMQ at {node} leads from this routing key to no queue")
    except NackError:
        return BrokerUnavailableError(f"RabbitMQ at {node} refuses the message: a queue is full, or cannot keep it")
    except (AMQPError, OSError) as error:
        return BrokerUnavailableError(f"{where} of RabbitMQ at {node} does not take the message: {brief(error)}")
    finally:
        # Confirmed or refused: what closing it comes to says nothing about the message.
        with contextlib.suppress(AMQPError, OSError):
            connection.close()
    return None
