"""Messages that are not work: those nobody can use, and the probes that show that a shard delivers."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping

from taskmesh.broker.protocol import AckToken, Consumer, Delivery, DirectMessage, Publisher
from taskmesh.clock import Clock
from taskmesh.errors import StoreUnavailableError
from taskmesh.observability.tally import Tally
from taskmesh.store.aside import aside
from taskmesh.store.housekeeping import Housekeeping
from taskmesh.wire.messages import ProbeMessage
from taskmesh.worker.letters.headers import Origin, headers_of

NOTE_AGAIN_SECONDS = 0.5
"""After a store that did not answer."""

_log = logging.getLogger(__name__)


class DeadLetters:
    """Buries what cannot be used, with its reason, and writes down which probes came through."""

    def __init__(
        self,
        housekeeping: Housekeeping,
        publisher: Publisher,
        consumer: Consumer,
        tally: Tally,
        holder: str,
        clock: Clock,
    ) -> None:
        self._housekeeping = housekeeping
        self._publisher = publisher
        self._consumer = consumer
        self._tally = tally
        self._holder = holder
        self._clock = clock
        self._probes: dict[str, dict[str, float]] = {}
        self._probe_acks: list[AckToken] = []
        self._noting: asyncio.Task[None] | None = None

    def bury(self, delivery: Delivery, reason: str, detail: str) -> None:
        """Move a message to its pool's dead-letter queue; it is acked when it is safe there.

        ``reason`` is one word, ``detail`` a sentence.
        """
        origin = Origin(
            letter_id=secrets.token_hex(8),
            at=self._clock.now(),
            reason=reason,
            detail=detail,
            queue=delivery.queue,
            routing_key=delivery.routing_key,
            worker=self._holder,
        )
        dead_queue = f"{delivery.queue.rpartition('.')[0]}.dead"
        message = DirectMessage(dead_queue, delivery.body, headers_of(origin))
        self._publisher.publish([message], lambda: self._consumer.ack([delivery.token]))
        self._tally.count("dead_letters_total", (reason,))
        _log.error("a message of queue %s went to %s: %s", delivery.queue, dead_queue, detail)

    def note_probe(self, probe: ProbeMessage, token: AckToken) -> None:
        """Write down soon that it came through, and ack it then."""
        sent = self._probes.setdefault(probe.pool, {})
        sent[probe.queue] = max(probe.sent_at, sent.get(probe.queue, 0.0))
        self._probe_acks.append(token)
        if self._noting is None:
            self._noting = asyncio.get_running_loop().create_task(self._note_all())

    async def _note_all(self) -> None:
        try:
            while self._probe_acks:
                probes, acks = self._probes, self._probe_acks
                self._probes, self._probe_acks = {}, []
                await self._insist_on(probes)
                self._consumer.ack(acks)
        finally:
            self._noting = None

    async def _insist_on(self, probes: Mapping[str, dict[str, float]]) -> None:
        while True:
            try:
                for pool, sent in probes.items():
                    await aside(self._housekeeping.note_probes, pool, sent)
                return
            except StoreUnavailableError as error:
                _log.debug("%s; probes that came through are noted when it does", error)
                await asyncio.sleep(NOTE_AGAIN_SECONDS)
