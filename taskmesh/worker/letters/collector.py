"""Takes the letters out of the dead-letter queues into the store, where they can be listed, replayed and purged.

    bury, or the broker's own dead-lettering ─► queue NAMESPACE.POOL.dead ─► here ─► store
                                                       ▲                      │
                                                       └──────── full ────────┘

The store is where letters are; the queue is only the way to it. While the store has no room, the queue is not consumed,
so what comes then waits there, on the broker's disk.
"""

from __future__ import annotations

import asyncio
import logging

from taskmesh.broker.protocol import Consumer, DeadDelivery, Delivery, pool_of_queue
from taskmesh.clock import Clock
from taskmesh.errors import StoreUnavailableError, WireError
from taskmesh.observability.tally import Tally
from taskmesh.store.aside import aside
from taskmesh.store.letters import DeadLetter, Letters
from taskmesh.wire.messages import NodeMessage, decode_message
from taskmesh.worker.letters.headers import Origin, origin_of

LETTERS_PER_BATCH = 20
"""Of at most a mebibyte each, they must reach the store within one socket timeout."""

_log = logging.getLogger(__name__)

Waiting = tuple[Delivery, DeadLetter]


class LetterCollector:
    """Collects letters on the loop. ``look`` is to be called every few seconds."""

    def __init__(self, letters: Letters, consumer: Consumer, namespace: str, tally: Tally, clock: Clock) -> None:
        self._letters = letters
        self._consumer = consumer
        self._namespace = namespace
        self._tally = tally
        self._clock = clock
        self._waiting: list[Waiting] = []
        self._generation = 0
        self._due = False
        self._full = False
        self._stopped = False

    def on_letter(self, received: DeadDelivery) -> None:
        delivery = received.delivery
        if self._full or self._stopped:
            self._consumer.requeue([delivery.token])
            return
        if delivery.token.generation > self._generation:
            # What waits here came over a connection that is gone, and comes again.
            self._generation = delivery.token.generation
            self._waiting.clear()
        origin = origin_of(received.headers, self._clock.now())
        self._waiting.append((delivery, letter_of(delivery, origin, self._namespace)))
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._collect)

    async def look(self) -> None:
        """Try again what the store did not take, and go on once it has room again.

        :raises StoreUnavailableError: nothing was lost; call again.
        """
        self._tally.set("dead_letters", (await aside(self._letters.totals)).letters)
        has_room = self._full and await aside(self._letters.has_room)
        if self._stopped:
            return
        if has_room:
            self._full = False
            self._consumer.collect_letters(True)
        self._keep_waiting()

    def stop(self) -> None:
        """Take no more, and give back what waits."""
        self._stopped = True
        self._give_back()

    def _collect(self) -> None:
        self._due = False
        try:
            self._keep_waiting()
        except StoreUnavailableError as error:
            _log.warning("%s; %d dead letters wait", error, len(self._waiting))

    def _keep_waiting(self) -> None:
        while self._waiting:
            batch = self._waiting[:LETTERS_PER_BATCH]
            kept = self._letters.keep([(letter, delivery.body) for delivery, letter in batch])
            done = [waiting for waiting, is_kept in zip(batch, kept, strict=True) if is_kept]
            self._consumer.ack([delivery.token for delivery, _ in done])
            self._count_those_of_the_broker(done)
            self._waiting = [each for each in self._waiting if each not in done]
            if len(done) < len(batch):
                self._wait_for_room()

    def _wait_for_room(self) -> None:
        self._full = True
        self._consumer.collect_letters(False)
        self._give_back()
        _log.error(
            "the store keeps no more dead letters: see limits.max_dead_letters and limits.max_dead_letter_bytes; "
            "further ones wait in the broker's dead-letter queues until `taskmesh dead replay` or `purge` has made room"
        )

    def _give_back(self) -> None:
        self._consumer.requeue([delivery.token for delivery, _ in self._waiting])
        self._waiting.clear()

    def _count_those_of_the_broker(self, done: list[Waiting]) -> None:
        for _, letter in done:
            # Whoever buries a letter counts it himself.
            if not letter.worker:
                self._tally.count("dead_letters_total", (letter.reason,))
                _log.error("a message of queue %s is a dead letter: %s", letter.queue, letter.detail)


def letter_of(delivery: Delivery, origin: Origin, namespace: str) -> DeadLetter:
    """The letter that a message in a dead-letter queue makes."""
    message = _readable(delivery.body)
    return DeadLetter(
        id=origin.letter_id,
        at=origin.at,
        reason=origin.reason,
        detail=origin.detail,
        pool=pool_of_queue(namespace, delivery.queue) or "",
        queue=origin.queue or delivery.queue,
        routing_key=message.shard_key if message else origin.routing_key,
        worker=origin.worker,
        run_id=message.run_id if message else None,
        node=message.node if message else None,
        size=len(delivery.body),
    )


def _readable(body: bytes) -> NodeMessage | None:
    try:
        message = decode_message(body)
    except WireError:
        return None
    return message if isinstance(message, NodeMessage) else None
