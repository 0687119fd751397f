"""A broker in the memory of the test: shards, acks, redelivery; and what may befall a message."""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from taskmesh.broker.protocol import (
    AckToken,
    DeadDelivery,
    Delivery,
    DirectMessage,
    EventMessage,
    LinkState,
    Message,
    dead_queue_name,
    shard_queue_name,
)
from taskmesh.testing.actors import Actor, ActorLoop

AGAIN_SECONDS = 0.05

SHARD = 0
"""There is one of each pool: nothing here needs its work spread."""


class Accidents(Protocol):
    """What befalls messages."""

    def copies(self, body: bytes) -> int:
        """How many of a message come through: 1 as a rule, 0 where it is lost."""


@dataclass(slots=True)
class _Message:
    """One message that the road keeps."""

    body: bytes
    queue: str
    routing_key: str
    headers: Mapping[str, str] = field(default_factory=dict)
    redelivered: bool = False


class Road:
    """All queues of a mesh. On the loop alone."""

    def __init__(self, namespace: str, loop: ActorLoop, accidents: Accidents) -> None:
        self.namespace = namespace
        self.loop = loop
        self._accidents = accidents
        self._waiting: dict[str, deque[_Message]] = {}
        self._consumers: list[RoadConsumer] = []

    def put(self, message: Message) -> None:
        """Nobody listens for events here."""
        if isinstance(message, EventMessage):
            return
        if isinstance(message, DirectMessage):
            kept = _Message(message.body, message.queue, message.queue, message.headers)
            copies = 1
        else:
            queue = shard_queue_name(self.namespace, message.pool, SHARD)
            kept = _Message(message.body, queue, message.routing_key)
            copies = self._accidents.copies(message.body)
        for _ in range(copies):
            self._give(kept)

    def join(self, consumer: RoadConsumer) -> None:
        """Deliver to a consumer from now on, first what has waited."""
        self._consumers.append(consumer)
        waiting, self._waiting = self._waiting, {}
        for queue in waiting.values():
            for message in queue:
                self._give(message)

    def leave(self, consumer: RoadConsumer) -> None:
        """Deliver to a consumer no more; what it has, it may still ack."""
        if consumer in self._consumers:
            self._consumers.remove(consumer)

    def give_back(self, messages: Sequence[_Message]) -> None:
        """Deliver again. It takes a moment, as with any broker: none may go round and round while time stands still."""
        for message in messages:
            message.redelivered = True
            self.loop.call_later(AGAIN_SECONDS, self._give, message, context=contextvars.Context())

    def _give(self, message: _Message) -> None:
        for consumer in self._consumers:
            if message.queue in consumer.queues:
                consumer.deliver(message)
                return
        self._waiting.setdefault(message.queue, deque()).append(message)


class RoadPublisher:
    """A ``Publisher``: whatever is published is there at once."""

    state = LinkState.UP
    unconfirmed = 0

    def __init__(self, road: Road) -> None:
        self._road = road

    async def start(self) -> None: ...

    def publish(self, messages: Sequence[Message], then: Callable[[], None] | None = None) -> None:
        for message in messages:
            self._road.put(message)
        if then is not None:
            self._road.loop.call_soon(then)

    async def drain(self, timeout_seconds: float) -> bool:
        return True

    async def close(self) -> None: ...


class RoadConsumer:
    """A ``Consumer`` that takes all that comes."""

    state = LinkState.UP

    def __init__(self, road: Road, actor: Actor, pools: Sequence[str]) -> None:
        self._road = road
        self._actor = actor
        self._dead_queues = frozenset(dead_queue_name(road.namespace, pool) for pool in pools)
        self.queues = self._dead_queues | {shard_queue_name(road.namespace, pool, SHARD) for pool in pools}
        self._unacked: dict[int, _Message] = {}
        self._tags = count(1)
        self._on_delivery: Callable[[Delivery], None] = lambda _: None
        self._on_letter: Callable[[DeadDelivery], None] | None = None

    async def start(
        self,
        on_delivery: Callable[[Delivery], None],
        on_letter: Callable[[DeadDelivery], None] | None = None,
        on_event: Callable[[Delivery], None] | None = None,
    ) -> None:
        self._on_delivery = on_delivery
        self._on_letter = on_letter
        self._road.join(self)

    def deliver(self, message: _Message) -> None:
        tag = next(self._tags)
        self._unacked[tag] = message
        token = AckToken(1, tag)
        delivery = Delivery(message.body, message.queue, message.redelivered, token, message.routing_key)
        if message.queue not in self._dead_queues:
            self._road.loop.inside(self._actor, self._on_delivery, delivery)
        elif self._on_letter is not None:
            self._road.loop.inside(self._actor, self._on_letter, DeadDelivery(delivery, message.headers))

    def cut_off(self) -> None:
        """The process behind it is gone: what it has not acked goes to others."""
        self._road.leave(self)
        unacked, self._unacked = list(self._unacked.values()), {}
        self._road.give_back(unacked)

    def collect_letters(self, wanted: bool) -> None:
        """All are collected at once: a test that has no room for its letters looks for something else."""

    def ack(self, tokens: Sequence[AckToken]) -> None:
        for token in tokens:
            self._unacked.pop(token.tag, None)

    def requeue(self, tokens: Sequence[AckToken]) -> None:
        self._road.give_back([self._unacked.pop(token.tag) for token in tokens if token.tag in self._unacked])

    def pause(self) -> None:
        self._road.leave(self)

    def resume(self) -> None:
        self._road.join(self)

    def set_prefetch(self, prefetch: int) -> None: ...

    def stand_back(self, wanted: bool) -> None: ...

    async def close(self) -> None:
        self.cut_off()
