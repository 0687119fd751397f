"""kombu's connection to the embedded broker: Redis lists on the Valkey that embedded mode runs.

Each shard is one list; routing is done here, so nothing is declared. A message that is taken is copied to ``unacked``
with the time it was taken. Its holder renews that time while it lives (see ``embedded_consumer``), and any consumer
gives back what was not renewed for ``visibility_seconds``. kombu takes a message and copies it in two steps: a kill
between them loses the message, which the probes of the keeper find, as they find what a wiped broker has lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from kombu.asynchronous import Hub
from kombu.connection import Connection
from kombu.entity import Queue
from kombu.messaging import Consumer, Producer
from kombu.transport.virtual import QoS

from taskmesh.broker.protocol import events_exchange_name
from taskmesh.broker.settings import BrokerSettings

POLL_SECONDS = 0.5
"""How long the broker holds a request for messages open: closing a consumer waits for it."""

_NEVER_SECONDS = 86_400 * 365

# kombu says that it is typed but annotates little: what it makes is Any to the rest of this package.
new_consumer: Any = Consumer
new_hub: Any = Hub
new_producer: Any = Producer
new_queue: Any = Queue
_new_connection: Any = Connection
_QoS: Any = QoS


def connect(settings: BrokerSettings) -> Any:
    """Open a kombu ``Connection``, blocking; one attempt.

    :raises Exception: one of ``Connection.connection_errors`` when that fails.
    """
    connection = _new_connection(settings.url, transport_options=_transport_options(settings))
    connection.connect()
    return connection


def open_channel(connection: Any) -> Any:
    """Open a channel that keeps its client: kombu makes one for each command, which takes longer than the command."""
    channel = connection.channel()
    with channel.conn_or_acquire() as client:
        channel.conn_or_acquire = lambda given=None: nullcontext(given or client)
    return channel


def declare_events(channel: Any, namespace: str) -> None:
    """Tell this connection of the exchange of events, which here reaches those who listen at that moment.

    A list that somebody has bound, and does not read any more, would grow for ever: here nothing can bound it.
    """
    channel.exchange_declare(events_exchange_name(namespace), type="fanout", durable=True)


def ack_all(channel: Any, tags: Sequence[str]) -> None:
    """Settle messages in one round trip, where kombu takes one for each."""
    with channel.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
        pipe.zrem(channel.unacked_index_key, *tags)
        pipe.hdel(channel.unacked_key, *tags)
        pipe.execute()
    for tag in tags:
        # The base class only keeps count of what may be prefetched; the transport's would go to the broker again.
        _QoS.ack(channel.qos, tag)


def renew(channel: Any, tags: Sequence[str], now: float) -> None:
    """Set the time at which messages were taken to ``now``, in epoch seconds."""
    with channel.conn_or_acquire() as client:
        client.zadd(channel.unacked_index_key, dict.fromkeys(tags, now), xx=True)


def is_refusal(error: BaseException) -> bool:
    """Whether trying again cannot help. The classes are the driver's, which this layer does not import."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return not names.isdisjoint({"AuthenticationError", "NoPermissionError"})


def _transport_options(settings: BrokerSettings) -> dict[str, Any]:
    prefix = f"{settings.namespace}.unacked"
    return {
        "unacked_key": prefix,
        "unacked_index_key": f"{prefix}.index",
        "unacked_mutex_key": f"{prefix}.mutex",
        "unacked_mutex_expire": settings.visibility_seconds,
        "visibility_timeout": settings.visibility_seconds,
        # The consumer calls for it itself, right after it has renewed what it holds.
        "unacked_restore_interval": _NEVER_SECONDS,
        "unacked_restore_throttle": 1,
        # One list for a shard, not one for each priority.
        "priority_steps": [0],
        "polling_interval": POLL_SECONDS,
        "socket_connect_timeout": settings.connect_timeout_seconds,
        "socket_timeout": settings.confirm_timeout_seconds,
    }
