"""Takes events from the broker and begins their runs. An event is acked when all of its runs are admitted.

    exchange NAMESPACE.events.in ─► queue NAMESPACE.events.in ─► here ─► admit_run.lua, once for each flow
                                                                   │
                                       what cannot be used ────────┴──► NAMESPACE.events.dead

Every I/O process consumes the queue, over the connection that it has. Whoever dies between the admission and the ack
leaves the event to another, for whom the runs are there already.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import NamedTuple

from taskmesh.broker.protocol import Delivery
from taskmesh.dispatch.dispatcher import Ready
from taskmesh.dispatch.events.runs import EVENT_REFUSED, Arrival, EventRuns
from taskmesh.errors import StoreUnavailableError, TooLargeError, WireError
from taskmesh.model.events.on_event import InboundEvent
from taskmesh.store.aside import aside
from taskmesh.wire.inbound_events import decode_inbound
from taskmesh.worker.engine.parts import Parts

EVENTS_PER_BATCH = 50
AGAIN_SECONDS = 0.5
"""After a store that did not answer."""

TOO_LARGE, UNREADABLE, REFUSED = "event_too_large", "event_unreadable", EVENT_REFUSED

_log = logging.getLogger(__name__)


class Verdict(NamedTuple):
    """What came of a message: nodes to publish; and where it must be buried, the reason, and a sentence."""

    ready: Sequence[Ready] = ()
    reason: str = ""
    detail: str = ""


class EventIntake:
    """Takes events on the loop."""

    def __init__(self, runs: EventRuns, parts: Parts) -> None:
        self._runs = runs
        self._parts = parts
        self._waiting: list[Delivery] = []
        self._generation = 0
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    def on_event(self, delivery: Delivery) -> None:
        """A message of the queue of events has come."""
        if self._stopped:
            self._parts.consumer.requeue([delivery.token])
            return
        if delivery.token.generation > self._generation:
            # What waits here came over a connection that is gone, and comes again.
            self._generation = delivery.token.generation
            self._waiting.clear()
        self._waiting.append(delivery)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._go_on())

    def stop(self) -> None:
        """Take no more, and give back what waits."""
        self._stopped = True
        self._parts.consumer.requeue([each.token for each in self._waiting])
        self._waiting.clear()

    async def _go_on(self) -> None:
        try:
            while batch := self._waiting[:EVENTS_PER_BATCH]:
                if await self._take(batch):
                    done = {each.token for each in batch}
                    self._waiting = [each for each in self._waiting if each.token not in done]
        finally:
            self._task = None

    async def _take(self, batch: Sequence[Delivery]) -> bool:
        """Says whether these are done with."""
        try:
            verdicts = await aside(self._judge, batch)
        except StoreUnavailableError as error:
            # Given back they would come again and again, and each time count against the queue's delivery limit.
            _log.debug("%s; %d events wait", error, len(batch))
            await asyncio.sleep(AGAIN_SECONDS)
            return False
        except Exception:
            # Here that limit is what ends it.
            _log.exception("%d events could not begin their runs", len(batch))
            await asyncio.sleep(AGAIN_SECONDS)
            self._parts.consumer.requeue([each.token for each in batch])
            return True
        if not self._stopped:
            self._finish(batch, verdicts)
        return True

    def _judge(self, batch: Sequence[Delivery]) -> list[Verdict]:
        """Begin the runs of those that are events. Apart from the loop, which a large one would hold up."""
        read = [self._read(each.body) for each in batch]
        events = [each for each in read if isinstance(each, InboundEvent)]
        arrivals = iter(self._runs.admit(events) if events else ())
        return [_verdict(next(arrivals)) if isinstance(each, InboundEvent) else each for each in read]

    def _read(self, body: bytes) -> InboundEvent | Verdict:
        try:
            return decode_inbound(body, self._parts.max_value_bytes)
        except TooLargeError as error:
            return Verdict(reason=TOO_LARGE, detail=str(error))
        except WireError as error:
            return Verdict(reason=UNREADABLE, detail=str(error))

    def _finish(self, batch: Sequence[Delivery], verdicts: Sequence[Verdict]) -> None:
        self._parts.dispatcher.publish([ready for verdict in verdicts for ready in verdict.ready])
        self._parts.tally.count("events_taken_total", amount=len(batch))
        for delivery, verdict in zip(batch, verdicts, strict=True):
            if verdict.reason:
                self._parts.dead_letters.bury(delivery, verdict.reason, verdict.detail)
            else:
                self._parts.consumer.ack([delivery.token])


def _verdict(arrival: Arrival) -> Verdict:
    return Verdict(arrival.ready, REFUSED if arrival.refusals else "", "; ".join(arrival.refusals))
