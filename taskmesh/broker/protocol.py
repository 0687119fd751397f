"""What the rest of the code knows of a broker. Everything runs on one asyncio loop and one thread.

A publisher keeps each message until the broker has confirmed it: it publishes again what was
returned, refused, or lost with a connection. So ``then`` is called when the whole batch is safe, and
never otherwise. A consumer hands out deliveries until it is stopped, across reconnects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, TypeAlias

CONTENT_TYPE = "application/vnd.taskmesh+msgpack"

EVENTS = "events"
"""What the exchange of events is called beside those of the pools."""


class Outgoing(NamedTuple):
    """One message to publish. ``routing_key`` is what the shards are chosen by."""

    pool: str
    routing_key: str
    body: bytes


@dataclass(frozen=True, slots=True)
class DirectMessage:
    """A message to one named queue, past the shards: probes and dead letters."""

    queue: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class EventMessage(NamedTuple):
    """An event for everybody who has bound a queue to the exchange of events; where nobody has, it is gone."""

    routing_key: str
    body: bytes
    content_type: str


Message: TypeAlias = Outgoing | DirectMessage | EventMessage


class AckToken(NamedTuple):
    """Names a delivery to its consumer. ``generation`` grows with each connection: acks of an older one are dropped."""

    generation: int
    tag: int


class Delivery(NamedTuple):
    """One message received. It stays the consumer's until ``ack`` or ``requeue``.

    ``routing_key`` is empty where the broker does not keep it (the embedded one).
    """

    body: bytes
    queue: str
    redelivered: bool
    token: AckToken
    routing_key: str = ""


class DeadDelivery(NamedTuple):
    """A message received from a dead-letter queue. The headers are whoever's put it there: ours, or the broker's."""

    delivery: Delivery
    headers: Mapping[str, Any]


class LinkState(StrEnum):
    """Whether a connection can be used."""

    DOWN = "down"  # connecting, or waiting to connect again
    UP = "up"
    BLOCKED = "blocked"  # the broker has an alarm and does not read what is published


class Publisher(Protocol):
    """Publishes to the shards of a pool, to one queue, or to whoever wants to hear of events."""

    @property
    def state(self) -> LinkState: ...

    @property
    def unconfirmed(self) -> int:
        """Messages handed over and not confirmed yet."""

    async def start(self) -> None:
        """Begin to connect; returns at once. Reconnects by itself until ``close``.

        :raises BrokerUnavailableError: never for a broker that is away (that is retried), only for what a
            retry cannot mend (credentials, no permission, missing plugin), and then through ``on_fatal``.
        """

    def publish(self, messages: Sequence[Message], then: Callable[[], None] | None = None) -> None:
        """Queue the batch; ``then`` is called once, on the loop, when the broker has confirmed all of it."""

    async def drain(self, timeout_seconds: float) -> bool:
        """Wait until nothing is unconfirmed; False when the time was over first."""

    async def close(self) -> None: ...


class Consumer(Protocol):
    """Consumes every shard of its pools, and their dead-letter queues where somebody collects those."""

    @property
    def state(self) -> LinkState: ...

    async def start(
        self,
        on_delivery: Callable[[Delivery], None],
        on_letter: Callable[[DeadDelivery], None] | None = None,
        on_event: Callable[[Delivery], None] | None = None,
    ) -> None:
        """Begin to connect and consume; ``on_delivery`` is called on the loop for each message.

        With ``on_letter`` the dead-letter queues are consumed, too; with ``on_event`` that of events from elsewhere, on
        RabbitMQ: by the embedded broker none come.
        """

    def collect_letters(self, wanted: bool) -> None:
        """Stop or resume consuming the dead-letter queues. Letters on their way still come after a stop."""

    def ack(self, tokens: Sequence[AckToken]) -> None:
        """Acknowledge; tokens of a lost connection are dropped silently (the broker delivers those again)."""

    def requeue(self, tokens: Sequence[AckToken]) -> None:
        """Give messages back for others."""

    def pause(self) -> None:
        """Stop taking; what was delivered can still be acked. One that is not connected yet will take nothing."""

    def resume(self) -> None:
        """Take again."""

    def set_prefetch(self, prefetch: int) -> None:
        """Hold at most ``prefetch`` messages of each shard unacked from now on."""

    def stand_back(self, wanted: bool) -> None:
        """Let every other consumer of a shard go first from now on, or not any more.

        Does nothing where the broker knows no priorities: there no consumer goes first.
        """

    async def close(self) -> None: ...


def exchange_name(namespace: str, pool: str) -> str:
    return f"{namespace}.{pool}"


def events_exchange_name(namespace: str) -> str:
    """The exchange of events; no pool has such a name (``model.validation``)."""
    return exchange_name(namespace, EVENTS)


def inbound_events_name(namespace: str) -> str:
    """The exchange of events from elsewhere, and the queue that gets all of them."""
    return f"{events_exchange_name(namespace)}.in"


def shard_queue_name(namespace: str, pool: str, shard: int) -> str:
    return f"{namespace}.{pool}.{shard}"


def dead_queue_name(namespace: str, pool: str) -> str:
    return f"{namespace}.{pool}.dead"


def pool_of_queue(namespace: str, queue: str) -> str | None:
    """The pool that a shard or dead-letter queue belongs to; None for a queue of others."""
    prefix = f"{namespace}."
    pool, dot, _ = queue.removeprefix(prefix).rpartition(".")
    return pool if queue.startswith(prefix) and dot else None
