"""What the tests of brokers share: publishers and consumers that are closed at the end, and an administrator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pika
from pika.adapters.blocking_connection import BlockingChannel

from taskmesh.broker.factory import open_consumer, open_publisher
from taskmesh.broker.protocol import (
    Consumer,
    DeadDelivery,
    Delivery,
    LinkState,
    Message,
    Outgoing,
    Publisher,
    dead_queue_name,
    exchange_name,
    shard_queue_name,
)
from taskmesh.broker.settings import BrokerSettings
from taskmesh.errors import BrokerUnavailableError

PATIENCE_SECONDS = 40.0
POLL_SECONDS = 0.01
POOL = "default"

NEW_QUEUE_SECONDS = 1.5
"""RabbitMQ 3.10 saves the registration of a quorum queue a little late: killed before, the queue gets no leader."""


async def until(condition: Callable[[], bool], timeout_seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for something that gives no signal."""
    for _ in range(int(timeout_seconds / POLL_SECONDS)):
        if condition():
            return
        await asyncio.sleep(POLL_SECONDS)
    raise TimeoutError(f"still not so after {timeout_seconds:g} s")


def outgoing(bodies: Iterable[bytes], pool: str = POOL) -> list[Outgoing]:
    """Messages whose routing keys are their bodies."""
    return [Outgoing(pool, body.decode(), body) for body in bodies]


def numbered(count: int, prefix: str = "m") -> list[bytes]:
    return [f"{prefix}{number}".encode() for number in range(count)]


@dataclass
class Inbox:
    """A consumer and what it was given."""

    consumer: Consumer
    acks: bool
    deliveries: list[Delivery] = field(default_factory=list)
    letters: list[DeadDelivery] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def receive(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        self._arrived.set()
        if self.acks:
            self.consumer.ack([delivery.token])

    def receive_letter(self, letter: DeadDelivery) -> None:
        self.letters.append(letter)
        if self.acks:
            self.consumer.ack([letter.delivery.token])

    @property
    def bodies(self) -> list[bytes]:
        return [delivery.body for delivery in self.deliveries]

    async def wait_for(self, count: int) -> list[Delivery]:
        """Wait until so many deliveries have come in all."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.deliveries) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.deliveries

    async def wait_for_bodies(self, bodies: Sequence[bytes]) -> None:
        await until(lambda: set(bodies) <= set(self.bodies))


class Peers:
    """Opens what a test needs on one broker."""

    def __init__(self, settings: BrokerSettings) -> None:
        self.settings = settings
        self.fatal: list[BrokerUnavailableError] = []
        self.inboxes: list[Inbox] = []
        self._opened: list[Publisher | Consumer] = []

    async def publisher(self) -> Publisher:
        publisher = open_publisher(self.settings, self.fatal.append)
        self._opened.append(publisher)
        await publisher.start()
        return publisher

    async def consumer(
        self,
        *,
        acks: bool = True,
        prefetch: int = 100,
        holder: str = "holder",
        pools: Sequence[str] = (POOL,),
        letters: bool = False,
    ) -> Inbox:
        """A consumer that is consuming when this returns."""
        inbox = Inbox(open_consumer(self.settings, pools, holder, self.fatal.append, prefetch), acks)
        self.inboxes.append(inbox)
        self._opened.append(inbox.consumer)
        await inbox.consumer.start(inbox.receive, inbox.receive_letter if letters else None)
        await until(lambda: inbox.consumer.state is LinkState.UP or bool(self.fatal))
        return inbox

    async def publish(self, publisher: Publisher, messages: Sequence[Message]) -> None:
        """Publish, and wait until the broker has all of it."""
        confirmed = asyncio.Event()
        publisher.publish(messages, confirmed.set)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await confirmed.wait()

    async def close(self) -> None:
        for peer in reversed(self._opened):
            await peer.close()


@asynccontextmanager
async def peers(settings: BrokerSettings) -> AsyncIterator[Peers]:
    opened = Peers(settings)
    try:
        yield opened
    finally:
        await opened.close()


def administer(url: str, action: Callable[[BlockingChannel], object]) -> None:
    """Do something to a RabbitMQ as its administrator would."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        action(connection.channel())
    finally:
        connection.close()


def delete_pool(channel: BlockingChannel, settings: BrokerSettings, pool: str = POOL) -> None:
    channel.exchange_delete(exchange_name(settings.namespace, pool))
    delete_queues(channel, settings, pool)
    channel.queue_delete(dead_queue_name(settings.namespace, pool))


def delete_queues(channel: BlockingChannel, settings: BrokerSettings, pool: str = POOL) -> None:
    for shard in range(settings.shards):
        channel.queue_delete(shard_queue_name(settings.namespace, pool, shard))
