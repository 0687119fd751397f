"""Consuming from RabbitMQ: every shard of the pools, the preferred ones first; and events from elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from itertools import count
from typing import Any

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from taskmesh.broker.ack_window import AckWindow
from taskmesh.broker.amqp_link import AmqpLink, LinkEvents
from taskmesh.broker.amqp_topology import RECREATE_SECONDS, declare
from taskmesh.broker.protocol import (
    EVENTS,
    AckToken,
    DeadDelivery,
    Delivery,
    LinkState,
    dead_queue_name,
    inbound_events_name,
    shard_queue_name,
)
from taskmesh.broker.rendezvous import LOWEST_PRIORITY, priority
from taskmesh.broker.settings import BrokerSettings
from taskmesh.errors import BrokerUnavailableError

_log = logging.getLogger(__name__)


class RabbitConsumer:
    """A ``Consumer`` on one connection of its own.

    Quorum queues count unacked messages for each consumer, so ``prefetch`` is a number for one shard.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        pools: Sequence[str],
        holder: str,
        on_fatal: Callable[[BrokerUnavailableError], None],
        prefetch: int,
        weight: float = 1.0,
    ) -> None:
        """``holder`` names this consumer among all of its pools; ``weight`` is its share of the shards against others'.

        :raises ConfigError: for a URL that cannot be right.
        """
        self._settings = settings
        self._pools = tuple(pools)
        self._holder = holder
        self._weight = weight
        self._prefetch = prefetch
        self._link = AmqpLink(
            settings, f"consumer {holder}", LinkEvents(self._on_channel, self._on_down, _nothing, on_fatal)
        )
        self._channel: Channel | None = None
        self._on_delivery: Callable[[Delivery], None] = _ignore
        self._on_letter: Callable[[DeadDelivery], None] = _ignore
        self._on_event: Callable[[Delivery], None] | None = None
        self._dead_queues = frozenset(dead_queue_name(settings.namespace, pool) for pool in pools)
        self._collecting = False
        self._window = AckWindow()
        self._flush_is_due = False
        self._paused = False
        self._stands_back = False
        self._queue_by_tag: dict[str, str] = {}
        self._starting: set[str] = set()
        self._serials = count()

    @property
    def state(self) -> LinkState:
        return self._link.state

    async def start(
        self,
        on_delivery: Callable[[Delivery], None],
        on_letter: Callable[[DeadDelivery], None] | None = None,
        on_event: Callable[[Delivery], None] | None = None,
    ) -> None:
        """Begin to connect and consume; ``on_delivery`` is called on the loop for each message."""
        self._on_delivery = on_delivery
        if on_letter is not None:
            self._on_letter = on_letter
            self._collecting = True
        if on_event is not None:
            self._on_event = on_event
            self._dead_queues |= {dead_queue_name(self._settings.namespace, EVENTS)}
        self._link.start()

    def collect_letters(self, wanted: bool) -> None:
        """Stop or resume consuming the dead-letter queues. Letters on their way still come after a stop."""
        self._link.check_thread()
        self._collecting = wanted
        if not wanted:
            self._cancel(self._dead_queues)
        elif self._channel is not None and self._queue_by_tag:
            self._consume_missing(self._channel)

    def ack(self, tokens: Sequence[AckToken]) -> None:
        """Acknowledge at the end of this turn of the loop; tokens of a lost connection are dropped.

        :raises RuntimeError: when called from another thread than the loop's, or before ``start``.
        """
        self._link.check_thread()
        generation = self._link.generation
        for token in tokens:
            if token.generation == generation and self._window.settle(token.tag):
                self._wake()

    def requeue(self, tokens: Sequence[AckToken]) -> None:
        """Give messages back for others; tokens of a lost connection are dropped.

        :raises RuntimeError: when called from another thread than the loop's, or before ``start``.
        """
        self._link.check_thread()
        for token in tokens:
            if token.generation == self._link.generation and self._window.forget(token.tag):
                self._reject(token.tag)

    def _reject(self, tag: int) -> None:
        if self._channel is not None:
            self._channel.basic_reject(tag, requeue=True)

    def pause(self) -> None:
        """Stop taking; what was delivered can still be acked."""
        self._paused = True
        if self._channel is not None:
            self._link.check_thread()
            self._cancel(self._queues())

    def resume(self) -> None:
        """Take again."""
        self._link.check_thread()
        self._paused = False
        if self._channel is not None:
            self._channel.basic_qos(prefetch_count=self._prefetch, callback=_ignore)
            self._consume_missing(self._channel)

    def set_prefetch(self, prefetch: int) -> None:
        """Hold at most so many messages of a shard unacked from now on."""
        self._link.check_thread()
        if prefetch == self._prefetch:
            return
        self._prefetch = prefetch
        self._consume_anew()

    def stand_back(self, wanted: bool) -> None:
        """Let every other consumer of a shard go first from now on, or not any more."""
        self._link.check_thread()
        if wanted != self._stands_back:
            self._stands_back = wanted
            self._consume_anew()

    def _consume_anew(self) -> None:
        # A consumer's limit and its priority are fixed when it starts.
        if self._channel is not None and self._queue_by_tag:
            self._cancel(self._queues())
            self._channel.basic_qos(prefetch_count=self._prefetch, callback=_ignore)
            self._consume_missing(self._channel)

    async def close(self) -> None:
        """Send the last acks and end the connection; what is not acked goes to others."""
        self._flush()
        self._channel = None
        await self._link.close()

    def _on_channel(self, channel: Channel) -> None:
        self._channel = channel
        channel.add_on_cancel_callback(self._on_cancelled)
        channel.basic_qos(prefetch_count=self._prefetch, callback=_ignore)
        self._declare(channel, self._pools if self._on_event is None else (*self._pools, EVENTS))

    def _declare(self, channel: Channel, pools: Sequence[str]) -> None:
        """Declare one pool after the other, then consume."""
        if pools:
            declare(channel, self._settings, pools[0], lambda: self._declare(channel, pools[1:]))
        else:
            self._consume_missing(channel)

    def _consume_missing(self, channel: Channel) -> None:
        """Consume every shard that has no consumer of ours now."""
        consumed = set(self._queue_by_tag.values())
        missing = [] if self._paused else [queue for queue in self._queues() if queue not in consumed]
        for queue in missing:
            self._consume(channel, queue)
        if not missing:
            self._link.mark_up()

    def _queues(self) -> list[str]:
        namespace, shards = self._settings.namespace, range(self._settings.shards)
        queues = [shard_queue_name(namespace, pool, shard) for pool in self._pools for shard in shards]
        if self._on_event is not None:
            queues.append(inbound_events_name(namespace))
        return [*queues, *sorted(self._dead_queues)] if self._collecting else queues

    def _consume(self, channel: Channel, queue: str) -> None:
        tag = f"{self._holder}.{queue}.{next(self._serials)}"
        self._queue_by_tag[tag] = queue
        self._starting.add(tag)
        wish = LOWEST_PRIORITY if self._stands_back else priority(self._holder, queue, self._weight)
        channel.basic_consume(
            queue,
            self._letter_receiver(queue)
            if queue in self._dead_queues
            else self._receiver(queue, self._handler_of(queue)),
            consumer_tag=tag,
            arguments={"x-priority": wish},
            callback=lambda _: self._on_consuming(tag),
        )

    def _on_consuming(self, tag: str) -> None:
        self._starting.discard(tag)
        if not self._starting:
            self._link.mark_up()

    def _handler_of(self, queue: str) -> Callable[[Delivery], None]:
        is_inbound = queue == inbound_events_name(self._settings.namespace)
        return self._on_event if is_inbound and self._on_event is not None else self._on_delivery

    def _receiver(
        self, queue: str, handle: Callable[[Delivery], None]
    ) -> Callable[[Channel, Basic.Deliver, BasicProperties, bytes], None]:
        generation = self._link.generation
        window = self._window

        def receive(channel: Channel, method: Any, properties: BasicProperties, body: bytes) -> None:
            tag = method.delivery_tag
            window.deliver(tag)
            try:
                token = AckToken(generation, tag)
                handle(Delivery(body, queue, method.redelivered, token, method.routing_key))
            except Exception:
                # Left to pika it would end the connection, and every message on it would come again, this one too.
                _log.exception("a message of %s stays unacked: its handler failed", queue)

        return receive

    def _letter_receiver(self, queue: str) -> Callable[[Channel, Basic.Deliver, BasicProperties, bytes], None]:
        generation = self._link.generation

        def receive(channel: Channel, method: Any, properties: BasicProperties, body: bytes) -> None:
            tag = method.delivery_tag
            self._window.deliver(tag)
            try:
                delivery = Delivery(body, queue, method.redelivered, AckToken(generation, tag), method.routing_key)
                self._on_letter(DeadDelivery(delivery, properties.headers or {}))
            except Exception:
                _log.exception("a letter of %s stays unacked: its handler failed", queue)

        return receive

    def _on_cancelled(self, frame: Any) -> None:
        """The broker has ended one of our consumers: its queue was deleted.

        RabbitMQ may have resumed others by itself if their queues are there again, and loses what they should get then;
        a new connection is the way to be sure of all.
        """
        queue = self._queue_by_tag.pop(frame.method.consumer_tag, None)
        if queue is not None and not self._paused:
            self._link.drop(f"the broker has stopped delivery from {queue}", RECREATE_SECONDS)

    def _cancel(self, queues: Collection[str]) -> None:
        for tag in [tag for tag, queue in self._queue_by_tag.items() if queue in queues]:
            del self._queue_by_tag[tag]
            if self._channel is not None:
                self._channel.basic_cancel(tag, callback=_ignore)

    def _on_down(self) -> None:
        self._channel = None
        self._window = AckWindow()
        self._queue_by_tag.clear()
        self._starting.clear()

    def _wake(self) -> None:
        if not self._flush_is_due:
            self._flush_is_due = True
            self._link.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        channel = self._channel
        if channel is None:
            return
        with self._link.corked():
            for ack in self._window.take_acks():
                channel.basic_ack(ack.tag, ack.multiple)


def _ignore(_: object) -> None:
    """The answer says nothing that the absence of an error does not."""


def _nothing() -> None:
    """A consumer has nothing to do when its connection is up: deliveries come by themselves."""
