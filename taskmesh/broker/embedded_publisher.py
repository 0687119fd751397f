"""Publishing to the embedded broker. Published means confirmed: the broker has a message when the command returns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from taskmesh.broker.confirm_window import Batch
from taskmesh.broker.embedded_connection import declare_events, new_producer, open_channel
from taskmesh.broker.embedded_link import EmbeddedLink
from taskmesh.broker.protocol import (
    CONTENT_TYPE,
    DirectMessage,
    EventMessage,
    LinkState,
    Message,
    events_exchange_name,
    shard_queue_name,
)
from taskmesh.broker.rendezvous import pick_shard
from taskmesh.broker.settings import BrokerSettings
from taskmesh.errors import BrokerUnavailableError

MAX_BATCH = 500
"""How many messages go to the broker in one write; more would make others wait for a burst to pass."""


@dataclass(frozen=True, slots=True)
class _Message:
    """One message and the list that it goes to; with an exchange, those who listen to it."""

    queue: str
    body: bytes
    batch: Batch
    headers: Mapping[str, str] = field(default_factory=dict)
    exchange: str = ""
    content_type: str = CONTENT_TYPE


class KombuPublisher:
    """A ``Publisher`` for every transport but RabbitMQ's: shards are chosen here, by rendezvous hashing."""

    def __init__(self, settings: BrokerSettings, on_fatal: Callable[[BrokerUnavailableError], None]) -> None:
        """``on_fatal`` is called once when the broker refuses for a reason that trying again cannot mend."""
        self._settings = settings
        self._link = EmbeddedLink(settings, "publisher", self._session, on_fatal)
        self._inbox: SimpleQueue[_Message | None] = SimpleQueue()
        self._sending: list[_Message] = []
        self._unsettled = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def state(self) -> LinkState:
        return self._link.state

    @property
    def unconfirmed(self) -> int:
        """Messages handed over and not confirmed yet."""
        return self._unsettled

    async def start(self) -> None:
        """Begin to connect; returns at once."""
        self._link.start()

    def publish(self, messages: Sequence[Message], then: Callable[[], None] | None = None) -> None:
        """Queue the batch; ``then`` is called once, on the loop, when the broker has all of it.

        :raises RuntimeError: when called from another thread than the loop's, or before ``start``.
        """
        self._link.check_thread()
        batch = Batch(len(messages), then)
        if not messages and then is not None:
            asyncio.get_running_loop().call_soon(then)
        if messages:
            self._unsettled += len(messages)
            self._idle.clear()
        for message in messages:
            self._inbox.put(self._addressed(message, batch))

    async def drain(self, timeout_seconds: float) -> bool:
        """Wait until nothing is unconfirmed; False when the time was over first."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """End the connection. What is unconfirmed then may or may not have arrived."""
        self._link.stopping.set()
        self._inbox.put(None)
        await self._link.close()

    def _addressed(self, message: Message, batch: Batch) -> _Message:
        if isinstance(message, EventMessage):
            exchange = events_exchange_name(self._settings.namespace)
            return _Message(message.routing_key, message.body, batch, {}, exchange, message.content_type)
        if isinstance(message, DirectMessage):
            return _Message(message.queue, message.body, batch, message.headers)
        shard = pick_shard(message.routing_key, self._settings.weights)
        return _Message(shard_queue_name(self._settings.namespace, message.pool, shard), message.body, batch)

    def _settle(self, messages: Sequence[_Message]) -> None:
        self._unsettled -= len(messages)
        for message in messages:
            batch = message.batch
            batch.remaining -= 1
            if not batch.remaining and batch.then is not None:
                asyncio.get_running_loop().call_soon(batch.then)
        if not self._unsettled:
            self._idle.set()

    def _session(self, connection: Any) -> None:
        """Publish until told to stop. What a lost connection left unsure is published again, by the next session."""
        channel = open_channel(connection)
        declare_events(channel, self._settings.namespace)
        producer = new_producer(channel)
        while True:
            self._sending = self._sending or self._take()
            if self._link.stopping.is_set():
                return
            self._send(producer, self._sending)
            self._link.note_progress()
            self._link.call_soon(self._settle, self._sending)
            self._sending = []

    def _take(self) -> list[_Message]:
        """Wait for messages, and take what has come together; nothing when told to stop."""
        taken = [self._inbox.get()]
        try:
            while len(taken) < MAX_BATCH:
                taken.append(self._inbox.get_nowait())
        except Empty:
            pass
        return [message for message in taken if message is not None]

    def _send(self, producer: Any, messages: Sequence[_Message]) -> None:
        with producer.batch():
            for message in messages:
                producer.publish(
                    message.body,
                    exchange=message.exchange,
                    routing_key=message.queue,
                    headers=dict(message.headers),
                    content_type=message.content_type,
                    content_encoding="binary",
                )
