"""Publishing to RabbitMQ: every message is kept until the broker has confirmed it.

    publish ─► queue ─► window (sent, unconfirmed) ─► confirmed: then()
                 ▲          │
                 └──────────┴── returned, refused, or the connection was lost

The queue holds what may not be sent yet: no connection, the pool not declared, or the window full.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from taskmesh.broker.amqp_link import AmqpLink, LinkEvents
from taskmesh.broker.amqp_topology import RECREATE_SECONDS, declare
from taskmesh.broker.confirm_window import Batch, ConfirmWindow, Parcel
from taskmesh.broker.protocol import (
    CONTENT_TYPE,
    EVENTS,
    EventMessage,
    LinkState,
    Message,
    Outgoing,
    events_exchange_name,
    exchange_name,
    pool_of_queue,
)
from taskmesh.broker.settings import BrokerSettings
from taskmesh.errors import BrokerUnavailableError
from taskmesh.resilience.backoff import full_jitter

_PERSISTENT = 2
_SHORT_STRING_BYTES = 255
_WATCHES_PER_TIMEOUT = 4

WARN_AGAIN_SECONDS = 1.0
"""Messages that are tried again many times a second make one line of the log for this long."""

REFUSED_SECONDS = 1.0
"""How long a connection may be refused messages before another one is tried.

RabbitMQ (3.10, quorum queues): a channel whose first message to a queue comes between the death of the queue's leader
and the next election is refused every message to it for ever, while other channels are served.
"""

_log = logging.getLogger(__name__)


class RabbitPublisher:
    """A ``Publisher`` on one connection of its own: an alarm that blocks it must not block acks."""

    def __init__(self, settings: BrokerSettings, on_fatal: Callable[[BrokerUnavailableError], None]) -> None:
        """``on_fatal`` is called once when the broker refuses for a reason that trying again cannot mend.

        :raises ConfigError: for a URL that cannot be right.
        """
        self._settings = settings
        self._link = AmqpLink(settings, "publisher", LinkEvents(self._on_channel, self._on_down, self._wake, on_fatal))
        self._channel: Channel | None = None
        self._queue: deque[Parcel] = deque()
        self._window = ConfirmWindow()
        self._retrying: list[Parcel] = []
        self._retries = 0
        self._retry_delay = full_jitter(settings.reconnect_base_seconds, settings.reconnect_cap_seconds)
        self._refused_since: float | None = None
        self._warned_at = float("-inf")
        self._declared: set[str] = set()
        self._declaring_since: float | None = None
        self._flush_is_due = False
        self._unsettled = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._watch: asyncio.TimerHandle | None = None
        self._properties = _properties()

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
        self._watch_deadlines()

    def publish(self, messages: Sequence[Message], then: Callable[[], None] | None = None) -> None:
        """Queue the batch; ``then`` is called once, on the loop, when the broker has confirmed all of it.

        :raises RuntimeError: when called from another thread than the loop's, or before ``start``.
        """
        self._link.check_thread()
        batch = Batch(len(messages), then)
        if not messages:
            self._complete(batch)
            return
        self._queue.extend([self._parcel(message, batch) for message in messages])
        self._unsettled += len(messages)
        self._idle.clear()
        self._wake()

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
        if self._watch is not None:
            self._watch.cancel()
        self._channel = None
        await self._link.close()

    def _parcel(self, message: Message, batch: Batch) -> Parcel:
        if isinstance(message, EventMessage):
            exchange, properties = events_exchange_name(self._settings.namespace), _properties(message.content_type)
            return Parcel(exchange, message.routing_key, message.body, properties, EVENTS, batch, mandatory=False)
        if isinstance(message, Outgoing):
            exchange = exchange_name(self._settings.namespace, message.pool)
            return Parcel(exchange, _short(message.routing_key), message.body, self._properties, message.pool, batch)
        properties = self._properties
        if message.headers:
            properties = _properties(headers=message.headers)
        pool = pool_of_queue(self._settings.namespace, message.queue)
        return Parcel("", message.queue, message.body, properties, pool, batch)

    def _wake(self) -> None:
        """Send at the end of this turn of the loop what all of the turn has queued."""
        if self._queue and not self._flush_is_due and self._link.state is LinkState.UP:
            self._flush_is_due = True
            self._link.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        channel = self._channel
        if channel is None or self._link.state is not LinkState.UP:
            return
        now = self._link.loop.time()
        room = self._settings.max_unconfirmed - len(self._window)
        with self._link.corked():
            while room > 0 and self._queue and self._is_declared(channel, self._queue[0].pool):
                self._send(channel, self._queue.popleft(), now)
                room -= 1

    def _send(self, channel: Channel, parcel: Parcel, now: float) -> None:
        self._window.send(parcel, now)
        channel.basic_publish(parcel.exchange, parcel.routing_key, parcel.body, parcel.properties, parcel.mandatory)

    def _is_declared(self, channel: Channel, pool: str | None) -> bool:
        """Whether messages of a pool can go; begins to declare it otherwise, which ends in ``_wake``."""
        if pool is None or pool in self._declared:
            return True
        # Queues that were deleted are not made again before the pause is over.
        if self._declaring_since is None and not self._retrying:
            self._declaring_since = self._link.loop.time()
            declare(channel, self._settings, pool, lambda: self._on_declared(pool))
        return False

    def _on_declared(self, pool: str) -> None:
        self._declaring_since = None
        self._declared.add(pool)
        self._wake()

    def _on_channel(self, channel: Channel) -> None:
        self._channel = channel
        channel.add_on_return_callback(self._on_return)
        channel.confirm_delivery(self._on_confirm, callback=lambda _: self._link.mark_up())

    def _on_down(self) -> None:
        self._channel = None
        self._declared.clear()
        self._declaring_since = None
        self._refused_since = None
        self._queue.extendleft(reversed(self._window.take_all()))

    def _on_return(self, channel: Channel, method: Any, properties: BasicProperties, body: bytes) -> None:
        self._window.note_returned(method.exchange, method.routing_key, body)

    def _on_confirm(self, frame: Any) -> None:
        answer: Basic.Ack | Basic.Nack = frame.method
        if isinstance(answer, Basic.Nack):
            self._on_refused(self._window.take(answer.delivery_tag, answer.multiple))
            return
        confirmed = self._window.confirm(answer.delivery_tag, answer.multiple)
        self._settle(confirmed.safe)
        if confirmed.unroutable:
            # Somebody has deleted queues: they are made again before anything more is sent to their pool.
            self._declared.difference_update(parcel.pool for parcel in confirmed.unroutable if parcel.pool)
            self._retry(confirmed.unroutable, "returned: no queue takes them", RECREATE_SECONDS)
        self._wake()

    def _on_refused(self, parcels: Sequence[Parcel]) -> None:
        self._retry(parcels, "refused by the broker", 0.0)
        now = self._link.loop.time()
        if self._refused_since is None:
            self._refused_since = now
        elif now - self._refused_since > REFUSED_SECONDS:
            self._link.drop("the broker goes on refusing messages", self._retry_delay(self._retries))

    def _settle(self, parcels: Sequence[Parcel]) -> None:
        if parcels:
            self._retries = 0
        self._unsettled -= len(parcels)
        for parcel in parcels:
            parcel.batch.remaining -= 1
            if not parcel.batch.remaining:
                self._complete(parcel.batch)
        if not self._unsettled:
            self._idle.set()

    def _complete(self, batch: Batch) -> None:
        # Not called from here: an error in it must not look to pika like an error of the connection.
        if batch.then is not None:
            self._link.loop.call_soon(batch.then)

    def _retry(self, parcels: Sequence[Parcel], reason: str, pause_seconds: float) -> None:
        """Publish again after the pause and a delay that grows while nothing gets through."""
        if not parcels:
            return
        if not self._retrying:
            self._retries += 1
            delay_seconds = pause_seconds + self._retry_delay(self._retries)
            self._warn_of_retry(f"messages to {_place(parcels[0])} were {reason}", delay_seconds)
            self._link.loop.call_later(delay_seconds, self._requeue_retries)
        self._retrying.extend(parcels)

    def _warn_of_retry(self, what: str, delay_seconds: float) -> None:
        now = self._link.loop.time()
        if now - self._warned_at >= WARN_AGAIN_SECONDS:
            self._warned_at = now
            _log.warning("%s; publishing again in %.2f s", what, delay_seconds)

    def _requeue_retries(self) -> None:
        self._queue.extendleft(reversed(self._retrying))
        self._retrying = []
        self._wake()

    def _watch_deadlines(self) -> None:
        """Drop a connection on which an answer is overdue; a blocked one owes none."""
        timeout_seconds = self._settings.confirm_timeout_seconds
        waiting = [since for since in (self._window.oldest_sent_at, self._declaring_since) if since is not None]
        overdue = bool(waiting) and self._link.loop.time() - min(waiting) > timeout_seconds
        if overdue and self._link.state is LinkState.UP:
            self._link.drop(f"the broker has not confirmed for {timeout_seconds:g} s")
        self._watch = self._link.loop.call_later(timeout_seconds / _WATCHES_PER_TIMEOUT, self._watch_deadlines)


def _properties(content_type: str = CONTENT_TYPE, **more: Any) -> BasicProperties:
    make: Callable[..., BasicProperties] = BasicProperties
    return make(content_type=content_type, delivery_mode=_PERSISTENT, **more)


def _short(routing_key: str) -> str:
    """A routing key that AMQP can carry: only its hash matters to the exchange."""
    if routing_key.isascii() and len(routing_key) <= _SHORT_STRING_BYTES:
        return routing_key
    return blake2b(routing_key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _place(parcel: Parcel) -> str:
    return f"exchange {parcel.exchange!r}" if parcel.exchange else f"queue {parcel.routing_key!r}"
