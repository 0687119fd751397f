"""The two ends of the simulated broker that an I/O process holds: the product's protocol, on simulated connections."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count

from taskmesh.broker.amqp_topology import RECREATE_SECONDS
from taskmesh.broker.confirm_window import Batch, ConfirmWindow, Parcel
from taskmesh.broker.protocol import (
    AckToken,
    DeadDelivery,
    Delivery,
    EventMessage,
    LinkState,
    Message,
    Outgoing,
    pool_of_queue,
    shard_queue_name,
)
from taskmesh.broker.rendezvous import priority
from taskmesh.broker.settings import BrokerSettings
from taskmesh.resilience.backoff import full_jitter
from tests.simulation.broker import LATENCY_SECONDS, Connection, SimBroker
from tests.simulation.fate import Fate
from tests.simulation.loop import Actor

ALARM_LOOK_SECONDS = 0.5


class _Link:
    """A connection that is made again until it is closed."""

    def __init__(self, broker: SimBroker, actor: Actor, settings: BrokerSettings) -> None:
        self.state = LinkState.DOWN
        self._broker = broker
        self._actor = actor
        self._settings = settings
        self._connection: Connection | None = None
        self._delay = full_jitter(settings.reconnect_base_seconds, settings.reconnect_cap_seconds)
        self._attempts = 0
        self._is_closed = False

    async def close(self) -> None:
        self._is_closed = True
        if self._connection is not None:
            # Behind whatever was sent before, the last acks above all.
            self._connection.send(self._connection.cut, False)
        await asyncio.sleep(2 * LATENCY_SECONDS[1])

    def on_cut(self) -> None:
        self.state = LinkState.DOWN
        self._connection = None
        self._on_down()
        self._connect_later(RECREATE_SECONDS)

    def on_alarm(self, is_on: bool) -> None: ...

    def on_delivery(self, body: bytes, queue: str, redelivered: bool, tag: int) -> None: ...

    def _connect(self) -> None:
        if not self._is_closed:
            self._attempts += 1
            self._broker.loop.outside(LATENCY_SECONDS[1], self._knock)

    def _knock(self) -> None:
        connection = None if self._actor.is_dead else self._broker.connect(self._actor, self)
        if connection is None:
            self._broker.loop.inside(self._actor, self._connect_later, 0.0)
        else:
            connection.tell(self._opened, connection)

    def _opened(self, connection: Connection) -> None:
        self._connection = connection
        self._attempts = 0
        self.state = LinkState.BLOCKED if self._broker.has_alarm else LinkState.UP
        self._on_up(connection)

    def _connect_later(self, pause_seconds: float) -> None:
        self._broker.loop.call_later(pause_seconds + self._delay(max(self._attempts, 1)), self._connect)

    def _on_up(self, connection: Connection) -> None: ...

    def _on_down(self) -> None: ...


class SimConsumer(_Link):
    """A ``Consumer`` of the simulated broker."""

    def __init__(
        self, broker: SimBroker, actor: Actor, settings: BrokerSettings, pools: Sequence[str], prefetch: int
    ) -> None:
        super().__init__(broker, actor, settings)
        self._pools = tuple(pools)
        self._prefetch = prefetch
        self._generation = 0
        self._held: set[int] = set()
        self._is_paused = False
        self._handler: Callable[[Delivery], None] = lambda _: None

    async def start(
        self,
        on_delivery: Callable[[Delivery], None],
        on_letter: Callable[[DeadDelivery], None] | None = None,
        on_event: Callable[[Delivery], None] | None = None,
    ) -> None:
        """Dead-letter queues are not consumed: a letter in one of them shows at the end that something went wrong."""
        self._handler = on_delivery
        self._connect()

    def collect_letters(self, wanted: bool) -> None: ...

    def ack(self, tokens: Sequence[AckToken]) -> None:
        self._actor.check_alive()
        self._send_tags(self._broker.ack, tokens)

    def requeue(self, tokens: Sequence[AckToken]) -> None:
        self._actor.check_alive()
        self._send_tags(self._broker.requeue, tokens)

    def pause(self) -> None:
        self._is_paused = True
        if self._connection is not None:
            self._connection.send(self._broker.cancel, self._connection)

    def resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            if self._connection is not None:
                self._consume(self._connection)

    def set_prefetch(self, prefetch: int) -> None:
        if prefetch != self._prefetch:
            self._prefetch = prefetch
            if self._connection is not None:
                self._connection.send(self._broker.cancel, self._connection)
                self._consume(self._connection)

    def stand_back(self, wanted: bool) -> None:
        """The simulated broker knows no priorities."""

    def on_delivery(self, body: bytes, queue: str, redelivered: bool, tag: int) -> None:
        if not self._is_closed:
            self._held.add(tag)
            self._handler(Delivery(body, queue, redelivered, AckToken(self._generation, tag)))

    def _on_up(self, connection: Connection) -> None:
        self._generation += 1
        for pool in self._pools:
            connection.send(self._broker.declare, pool)
        self._consume(connection)

    def _on_down(self) -> None:
        self._held.clear()

    def _consume(self, connection: Connection) -> None:
        if self._is_paused:
            return
        for pool in self._pools:
            for shard in range(self._settings.shards):
                queue = shard_queue_name(self._settings.namespace, pool, shard)
                rank = priority(self._actor.name, queue)
                connection.send(self._broker.consume, connection, queue, self._prefetch, rank)

    def _send_tags(self, method: Callable[[Connection, Sequence[int]], None], tokens: Sequence[AckToken]) -> None:
        tags = [token.tag for token in tokens if token.generation == self._generation and token.tag in self._held]
        self._held.difference_update(tags)
        if tags and self._connection is not None:
            self._connection.send(method, self._connection, tags)


class SimPublisher(_Link):
    """A ``Publisher`` to the simulated broker: keeps each message until it is confirmed."""

    def __init__(self, broker: SimBroker, actor: Actor, settings: BrokerSettings, fate: Fate) -> None:
        super().__init__(broker, actor, settings)
        self._fate = fate
        self._queue: deque[Parcel] = deque()
        self._window = ConfirmWindow()
        self._tags = count(1)
        self._declared: set[str] = set()
        self._is_retrying = False
        self._retries = 0
        self._unsettled = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def unconfirmed(self) -> int:
        return self._unsettled

    async def start(self) -> None:
        self._connect()
        self._watch()

    def publish(self, messages: Sequence[Message], then: Callable[[], None] | None = None) -> None:
        self._actor.check_alive()
        batch = Batch(len(messages), then)
        if not messages:
            self._complete(batch)
            return
        self._queue.extend(self._parcel(message, batch) for message in messages)
        self._unsettled += len(messages)
        self._idle.clear()
        self._flush()

    async def drain(self, timeout_seconds: float) -> bool:
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def on_alarm(self, is_on: bool) -> None:
        if self._connection is not None:
            self.state = LinkState.BLOCKED if is_on else LinkState.UP
            self._flush()

    def _on_up(self, connection: Connection) -> None:
        self._tags = count(1)
        self._flush()

    def _on_down(self) -> None:
        self._declared.clear()
        self._queue.extendleft(reversed(self._window.take_all()))

    def _parcel(self, message: Message, batch: Batch) -> Parcel:
        if isinstance(message, Outgoing):
            return Parcel(message.pool, message.routing_key, message.body, message, message.pool, batch)
        if isinstance(message, EventMessage):
            return Parcel("events", message.routing_key, message.body, message, None, batch, mandatory=False)
        pool = pool_of_queue(self._settings.namespace, message.queue)
        return Parcel("", message.queue, message.body, message, pool, batch)

    def _flush(self) -> None:
        connection = self._connection
        while connection is not None and self.state is LinkState.UP and self._queue and not self._is_retrying:
            self._send(connection, self._queue.popleft())

    def _send(self, connection: Connection, parcel: Parcel) -> None:
        if parcel.pool is not None and parcel.pool not in self._declared:
            self._declared.add(parcel.pool)
            connection.send(self._broker.declare, parcel.pool)
        self._window.send(parcel, self._broker.loop.time())
        connection.send(self._at_broker, connection, next(self._tags), parcel)

    def _at_broker(self, connection: Connection, tag: int, parcel: Parcel) -> None:
        if self._broker.has_alarm:
            # It is not read before the alarm is over.
            self._broker.loop.outside(ALARM_LOOK_SECONDS, connection.arrive, self._at_broker, connection, tag, parcel)
        elif self._fate.strikes("cut before the broker has a message"):
            connection.cut(is_reset=True)
        elif self._fate.strikes("publish refused"):
            connection.tell(lambda: self._retry(self._window.take(tag, multiple=False), 0.0))
        else:
            self._answer(connection, tag, parcel, self._broker.publish(parcel.properties))

    def _answer(self, connection: Connection, tag: int, parcel: Parcel, is_kept: bool) -> None:
        if self._fate.strikes("cut before a confirm"):
            connection.cut(is_reset=True)
        elif not self._fate.strikes("confirm lost"):
            if not is_kept:
                connection.tell(self._window.note_returned, *parcel.address)
            connection.tell(self._confirmed, tag)

    def _confirmed(self, tag: int) -> None:
        confirmed = self._window.confirm(tag, multiple=False)
        self._settle(confirmed.safe)
        if confirmed.unroutable:
            self._declared.difference_update(parcel.pool for parcel in confirmed.unroutable if parcel.pool)
            self._retry(confirmed.unroutable, RECREATE_SECONDS)

    def _retry(self, parcels: Sequence[Parcel], pause_seconds: float) -> None:
        self._queue.extendleft(reversed(parcels))
        if parcels and not self._is_retrying:
            self._is_retrying = True
            self._retries += 1
            self._broker.loop.call_later(pause_seconds + self._delay(self._retries), self._retry_now)

    def _retry_now(self) -> None:
        self._is_retrying = False
        self._flush()

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
        if batch.then is not None:
            self._broker.loop.call_soon(batch.then)

    def _watch(self) -> None:
        """Give up a connection on which a confirm is overdue."""
        timeout_seconds = self._settings.confirm_timeout_seconds
        oldest = self._window.oldest_sent_at
        is_overdue = oldest is not None and self._broker.loop.time() - oldest > timeout_seconds
        if is_overdue and self.state is LinkState.UP and self._connection is not None:
            self._connection.cut(is_reset=True)
        self._broker.loop.call_later(timeout_seconds / 4, self._watch)
