"""Listening to events on the embedded broker, from now on."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from taskmesh.broker.embedded_connection import connect, declare_events, new_consumer, new_queue
from taskmesh.broker.protocol import events_exchange_name
from taskmesh.broker.settings import BrokerSettings
from taskmesh.errors import BrokerUnavailableError

LOOK_SECONDS = 0.5
FIRST_LOOK_SECONDS = 0.05


@contextmanager
def listen_embedded(settings: BrokerSettings) -> Iterator[Iterator[bytes]]:
    """The bodies of all events, as they come.

    :raises BrokerUnavailableError: there is no connection, any more.
    """
    with _connected(settings) as connection:
        channel, exchange = connection.channel(), events_exchange_name(settings.namespace)
        declare_events(channel, settings.namespace)
        name = f"{exchange}.{secrets.token_hex(8)}"
        channel.queue_declare(name)
        channel.queue_bind(name, exchange, "#")
        try:
            yield _bodies(connection, _consume(connection, channel, name))
        finally:
            channel.queue_delete(name)


@contextmanager
def _connected(settings: BrokerSettings) -> Iterator[Any]:
    try:
        connection = connect(settings)
    except Exception as error:
        raise _unavailable(error) from None
    with connection:
        try:
            yield connection
        except (*connection.connection_errors, *connection.channel_errors) as error:
            raise _unavailable(error) from None


def _unavailable(error: Exception) -> BrokerUnavailableError:
    return BrokerUnavailableError(f"there is no connection to the broker to hear of events ({error})")


def _consume(connection: Any, channel: Any, queue: str) -> deque[bytes]:
    """Where what comes from now on goes."""
    came: deque[bytes] = deque()
    consumer = new_consumer(channel, queues=[new_queue(queue)], no_ack=True, auto_declare=False)
    consumer.register_callback(lambda _, message: came.append(message.body))
    consumer.consume()
    # Only the first look tells the broker.
    _look(connection, FIRST_LOOK_SECONDS)
    return came


def _bodies(connection: Any, came: deque[bytes]) -> Iterator[bytes]:
    while True:
        while came:
            yield came.popleft()
        _look(connection, LOOK_SECONDS)


def _look(connection: Any, seconds: float) -> None:
    with suppress(TimeoutError):
        connection.drain_events(timeout=seconds)
