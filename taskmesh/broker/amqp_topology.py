"""The exchange and the queues of a pool on RabbitMQ, and those of events.

exchange NAMESPACE.POOL (x-consistent-hash) ──weight──► queue NAMESPACE.POOL.0 ... N-1
                                                         │ over the delivery limit
                                                         └──► queue NAMESPACE.POOL.dead

exchange NAMESPACE.events (topic) ──► queues of others

exchange NAMESPACE.events.in (topic) ──#──► queue NAMESPACE.events.in
                                              │ over the delivery limit
                                              └──► queue NAMESPACE.events.dead
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pika.channel import Channel

from taskmesh.broker.protocol import (
    EVENTS,
    dead_queue_name,
    events_exchange_name,
    exchange_name,
    inbound_events_name,
    shard_queue_name,
)
from taskmesh.broker.settings import BrokerSettings

DELIVERY_LIMIT = 1_000
"""How often a quorum queue hands out a message before it takes it for poison.

A worker that dies counts against every message that it held, so RabbitMQ 4's default of 20 would bury innocent ones
after 20 crashes. The store counts attempts and knows whom to blame; this only ends a loop that the store never sees.
"""

RECREATE_SECONDS = 1.0
"""How long a queue that was deleted stays away before any of us makes it again.

RabbitMQ (3.10, quorum queues) tells consumers of a deletion only while the queue is missing. Otherwise it resumes them
on the new queue under their old tags, takes what comes for repetitions by its numbers, and drops it: they are deaf.
"""

EXCHANGE_TYPE = "x-consistent-hash"
EVENTS_EXCHANGE_TYPE = "topic"

_DEFAULT_EXCHANGE = ""


def declare(channel: Channel, settings: BrokerSettings, what: str, done: Callable[[], None]) -> None:
    """Create what is missing of a pool, or of the events; as ``declare_pool``."""
    if what != EVENTS:
        declare_pool(channel, settings, what, done)
        return
    name = inbound_events_name(settings.namespace)
    for exchange in (events_exchange_name(settings.namespace), name):
        channel.exchange_declare(exchange, EVENTS_EXCHANGE_TYPE, durable=True)
    kind = _queue_arguments(settings)
    channel.queue_declare(dead_queue_name(settings.namespace, EVENTS), durable=True, arguments=kind)
    channel.queue_declare(name, durable=True, arguments={**kind, **_dead_lettering(settings, EVENTS)})
    channel.queue_bind(name, name, "#", callback=lambda _: done())


def declare_pool(channel: Channel, settings: BrokerSettings, pool: str, done: Callable[[], None]) -> None:
    """Create what is missing of a pool; ``done`` is called when all is there.

    A refusal closes the channel instead. Only the last step asks for an answer, so all of it is one round trip.
    """
    exchange = exchange_name(settings.namespace, pool)
    channel.exchange_declare(exchange, EXCHANGE_TYPE, durable=True)
    for name, arguments in pool_queues(settings, pool).items():
        channel.queue_declare(name, durable=True, arguments=arguments)
    *others, last = enumerate(settings.weights)
    for shard, weight in others:
        channel.queue_bind(shard_queue_name(settings.namespace, pool, shard), exchange, str(weight))
    shard, weight = last
    name = shard_queue_name(settings.namespace, pool, shard)
    channel.queue_bind(name, exchange, str(weight), callback=lambda _: done())


def pool_queues(settings: BrokerSettings, pool: str) -> dict[str, dict[str, Any]]:
    """Every queue of a pool, with the arguments that it is declared with."""
    kind = _queue_arguments(settings)
    arguments = {**kind, **_dead_lettering(settings, pool)}
    shards = {shard_queue_name(settings.namespace, pool, shard): arguments for shard in range(settings.shards)}
    return {dead_queue_name(settings.namespace, pool): kind, **shards}


def _queue_arguments(settings: BrokerSettings) -> dict[str, Any]:
    arguments: dict[str, Any] = {"x-queue-type": settings.queue_type}
    if settings.quorum_group_size:
        arguments["x-quorum-initial-group-size"] = settings.quorum_group_size
    if settings.queue_type == "quorum":
        arguments["x-delivery-limit"] = DELIVERY_LIMIT
    return arguments


def _dead_lettering(settings: BrokerSettings, pool: str) -> dict[str, Any]:
    return {
        "x-dead-letter-exchange": _DEFAULT_EXCHANGE,
        "x-dead-letter-routing-key": dead_queue_name(settings.namespace, pool),
    }
