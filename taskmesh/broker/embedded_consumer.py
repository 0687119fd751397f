"""Consuming from the embedded broker: kombu's event loop in a thread, woken by messages and by acks alike."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from taskmesh.broker.embedded_connection import ack_all, new_consumer, new_hub, new_queue, open_channel, renew
from taskmesh.broker.embedded_link import EmbeddedLink
from taskmesh.broker.protocol import AckToken, DeadDelivery, Delivery, LinkState, dead_queue_name, shard_queue_name
from taskmesh.broker.settings import BrokerSettings
from taskmesh.clock import Clock, SystemClock
from taskmesh.errors import BrokerUnavailableError

RENEWALS = 4
"""How often within the visibility timeout a holder says that it lives: one or two may be late."""

ACK_SECONDS = 0.005
MAX_ACKS = 100
"""An ack goes out with those of the next milliseconds, or when so many wait, or when no more may be held."""


class KombuConsumer:
    """A ``Consumer`` for every transport but RabbitMQ's. ``prefetch`` is for one shard; the shards share it here."""

    def __init__(
        self,
        settings: BrokerSettings,
        pools: Sequence[str],
        on_fatal: Callable[[BrokerUnavailableError], None],
        prefetch: int,
        clock: Clock | None = None,
    ) -> None:
        """``clock`` must agree with those of the other processes of the embedded broker, which share a machine."""
        self._settings = settings
        self._queues = [
            shard_queue_name(settings.namespace, pool, shard) for pool in pools for shard in range(settings.shards)
        ]
        self._dead_queues = frozenset(dead_queue_name(settings.namespace, pool) for pool in pools)
        self._on_letter: Callable[[DeadDelivery], None] = _ignore
        self._collecting = False
        self._clock = clock or SystemClock()
        self._link = EmbeddedLink(settings, "consumer", self._run_session, on_fatal)
        self._session: _Session | None = None
        self._generation = 0
        self._paused = False
        self._prefetch = prefetch

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
        self._link.start()

    def collect_letters(self, wanted: bool) -> None:
        """Stop or resume consuming the dead-letter queues. Letters on their way still come after a stop."""
        self._link.check_thread()
        self._collecting = wanted
        if self._session is not None:
            self._tell_letters(self._session)

    def ack(self, tokens: Sequence[AckToken]) -> None:
        """Acknowledge; tokens of a lost connection are dropped.

        :raises RuntimeError: when called from another thread than the loop's, or before ``start``.
        """
        self._tell(lambda session: session.ack(tokens))

    def requeue(self, tokens: Sequence[AckToken]) -> None:
        """Give messages back for others; tokens of a lost connection are dropped.

        :raises RuntimeError: when called from another thread than the loop's, or before ``start``.
        """
        self._tell(lambda session: session.requeue(tokens))

    def pause(self) -> None:
        """Stop taking; what was delivered can still be acked."""
        self._paused = True
        if self._session is not None:
            self._tell(lambda session: session.pause())

    def resume(self) -> None:
        """Take again."""
        self._paused = False
        self._tell(lambda session: session.resume())

    def set_prefetch(self, prefetch: int) -> None:
        """Hold at most so many messages of a shard unacked from now on, on average."""
        self._prefetch = prefetch
        self._tell(lambda session: session.set_prefetch(prefetch))

    def stand_back(self, wanted: bool) -> None:
        """Nothing to do: no consumer goes first here, so others get what this one hands on."""

    async def close(self) -> None:
        """Send the last acks and give back what is not acked."""
        self._link.stopping.set()
        session = self._session
        if session is not None:
            session.tell(_Session.stop)
        await self._link.close()

    def _tell(self, command: Callable[[_Session], None]) -> None:
        self._link.check_thread()
        session = self._session
        if session is not None:
            session.tell(command)

    def _tell_letters(self, session: _Session) -> None:
        # Read when it is carried out: the wish may have changed by then.
        session.tell(lambda session: session.collect(self._dead_queues, self._collecting))

    def _run_session(self, connection: Any) -> None:
        """On the thread. A command of the loop finds the session, or is found by it in our attributes."""
        self._generation += 1
        session = _Session(
            connection, self._settings, self._generation, self._hand_out, self._link.note_progress, self._clock
        )
        self._session = session
        if self._collecting:
            self._tell_letters(session)
        try:
            session.run(self._queues, self._prefetch, self._paused or self._link.stopping.is_set())
        finally:
            self._session = None

    def _hand_out(self, delivery: Delivery, headers: Mapping[str, Any]) -> None:
        if delivery.queue in self._dead_queues:
            self._link.call_soon(self._on_letter, DeadDelivery(delivery, headers))
        else:
            self._link.call_soon(self._on_delivery, delivery)


class _Session:
    """What lasts as long as one connection. Only ``tell`` may be called from another thread."""

    def __init__(
        self,
        connection: Any,
        settings: BrokerSettings,
        generation: int,
        hand_out: Callable[[Delivery, Mapping[str, Any]], None],
        note_progress: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._channel = open_channel(connection)
        self._settings = settings
        self._generation = generation
        self._hand_out = hand_out
        self._note_progress = note_progress
        self._clock = clock
        self._hub = new_hub()
        self._commands: SimpleQueue[Callable[[_Session], None]] = SimpleQueue()
        self._held: dict[int, Any] = {}
        self._settled: list[str] = []
        self._flush_is_due = False
        self._last_tag = 0
        self._stopped = False
        self._paused = False

    def tell(self, command: Callable[[_Session], None]) -> None:
        """Have the session's thread carry out a command, in the order of the calls."""
        self._commands.put(command)
        self._hub.call_soon(self._obey)

    def run(self, queues: Sequence[str], prefetch: int, paused: bool) -> None:
        """Consume until told to stop, or until the connection is lost, which raises."""
        self._shards = len(queues)
        self._paused = paused
        self.set_prefetch(prefetch)
        self._consumer = new_consumer(
            self._channel, [new_queue(name) for name in queues], on_message=self._receive, auto_declare=False
        )
        try:
            self._start_hub()
            if not paused:
                self._consumer.consume()
            self._hub.run_forever()
        finally:
            # Closing waits for the request in flight; a message that answers it now goes back to its queue.
            self._stopped = True
            try:
                self._connection.release()
            finally:
                self._hub.close()

    def ack(self, tokens: Sequence[AckToken]) -> None:
        """Settle, soon: a round trip for each message would halve what gets through."""
        self._settled.extend(message.delivery_tag for message in self._take(tokens))
        if len(self._settled) >= MAX_ACKS or not self._channel.qos.can_consume():
            self._flush_acks()
        elif not self._flush_is_due:
            self._flush_is_due = True
            self._hub.call_later(ACK_SECONDS, self._flush_acks)

    def requeue(self, tokens: Sequence[AckToken]) -> None:
        for message in self._take(tokens):
            message.requeue()

    def collect(self, queues: Collection[str], wanted: bool) -> None:
        for queue in queues:
            if wanted:
                self._consumer.add_queue(new_queue(queue))
            else:
                self._consumer.cancel_by_queue(queue)
        if wanted and not self._paused:
            self._consumer.consume()

    def pause(self) -> None:
        self._paused = True
        self._consumer.cancel()

    def resume(self) -> None:
        self._paused = False
        self._consumer.consume()

    def set_prefetch(self, prefetch: int) -> None:
        self._channel.basic_qos(0, prefetch * self._shards, False)

    def stop(self) -> None:
        self._flush_acks()
        self._hub.stop()

    def _flush_acks(self) -> None:
        self._flush_is_due = False
        settled, self._settled = self._settled, []
        if settled:
            ack_all(self._channel, settled)
            self._note_progress()

    def _start_hub(self) -> None:
        self._hub.propagate_errors = (Exception,)
        self._connection.register_with_event_loop(self._hub)
        self._hub.call_repeatedly(self._settings.visibility_seconds / RENEWALS, self._renew_and_restore)
        self._hub.call_soon(self._renew_and_restore)

    def _obey(self) -> None:
        while True:
            try:
                command = self._commands.get_nowait()
            except Empty:
                return
            command(self)

    def _receive(self, message: Any) -> None:
        if self._stopped:
            return
        self._last_tag += 1
        self._held[self._last_tag] = message
        token = AckToken(self._generation, self._last_tag)
        queue = message.delivery_info["routing_key"]
        redelivered = bool(message.headers.get("redelivered"))
        self._hand_out(Delivery(message.body, queue, redelivered, token), message.headers)

    def _take(self, tokens: Sequence[AckToken]) -> list[Any]:
        current = [token.tag for token in tokens if token.generation == self._generation]
        return [self._held.pop(tag) for tag in current if tag in self._held]

    def _renew_and_restore(self) -> None:
        """Say that we live, then give back what was held by those who have not said so for too long."""
        if self._held:
            renew(self._channel, [message.delivery_tag for message in self._held.values()], self._clock.now())
        self._connection.transport.cycle.maybe_restore_messages()


def _ignore(_: object) -> None:
    """Nobody collects letters."""
