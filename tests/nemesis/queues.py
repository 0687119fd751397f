"""Talks to RabbitMQ as a stranger would: deletes, counts and publishes behind the product's back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker

from taskmesh.broker.protocol import dead_queue_name, exchange_name, shard_queue_name
from tests.harness.rabbitmq import RabbitServer

POOL = "default"


@contextlib.contextmanager
def channel_to(server: RabbitServer) -> Iterator[BlockingChannel]:
    with pika.BlockingConnection(pika.URLParameters(server.url)) as connection:
        yield connection.channel()


def delete_shard(server: RabbitServer, namespace: str, shard: int) -> int:
    """Delete a shard queue with all that is in it; how many messages that were."""
    with channel_to(server) as channel:
        deleted = channel.queue_delete(shard_queue_name(namespace, POOL, shard))
    return int(deleted.method.message_count)


def fewest_consumers(server: RabbitServer, namespace: str, shards: int) -> int:
    """Of the shard whose queue has the fewest; 0 where one is not there."""
    with channel_to(server) as channel:
        try:
            told = [
                channel.queue_declare(shard_queue_name(namespace, POOL, each), passive=True) for each in range(shards)
            ]
        except ChannelClosedByBroker:
            return 0
    return min(int(each.method.consumer_count) for each in told)


def delete_exchange(server: RabbitServer, namespace: str) -> None:
    with channel_to(server) as channel:
        channel.exchange_delete(exchange_name(namespace, POOL))


def publish_to_shards(server: RabbitServer, namespace: str, shards: int, bodies: Sequence[bytes]) -> None:
    """Publish bodies straight into the shard queues, in turn, and wait for the confirms."""
    with channel_to(server) as channel:
        channel.confirm_delivery()
        for number, body in enumerate(bodies):
            channel.basic_publish("", shard_queue_name(namespace, POOL, number % shards), body, mandatory=True)


def waiting(server: RabbitServer, namespace: str) -> dict[str, int]:
    """Messages of each queue that are ready or unacked."""
    lines = server.ctl("list_queues", "name", "messages", "--no-table-headers").splitlines()
    counts = dict(line.split("\t") for line in lines if line.startswith(f"{namespace}."))
    return {name: int(count) for name, count in counts.items()}


def remove_queues(server: RabbitServer, namespace: str, shards: int) -> None:
    """Delete everything of a namespace; many forgotten queues make every later restart slow."""
    with contextlib.suppress(AMQPError, OSError), channel_to(server) as channel:
        for shard in range(shards):
            channel.queue_delete(shard_queue_name(namespace, POOL, shard))
        channel.queue_delete(dead_queue_name(namespace, POOL))
        channel.exchange_delete(exchange_name(namespace, POOL))
