"""Publishes events: what the scripts have recorded leaves the store when the broker has confirmed it.

Only the leader of a partition publishes what waits there, one batch after the other; so the events of a run go out in
order. One that dies, or loses its partition, between the confirm and the store leaves its batch to be published again,
under the same ids. While the broker is away one batch waits in the publisher and all others in the store.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from taskmesh.broker.protocol import Publisher
from taskmesh.dispatch.events.published import EventWriter
from taskmesh.errors import StoreUnavailableError
from taskmesh.keeper.leadership import Leadership
from taskmesh.observability.tally import Tally
from taskmesh.store.aside import aside
from taskmesh.store.events.recorded import Emitted, EventOutbox

LOOK_SECONDS = 0.1
IDLE_SECONDS = 0.5
"""How often it looks, where there are partitions whose runs send events, and where there are none."""

EVENTS_PER_READ = 100
"""Of one partition."""

PATIENCE_SECONDS = 5.0
"""While the broker does not confirm, it is told so often how much waits."""

_log = logging.getLogger(__name__)


class EventRelay:
    """Publishes the events of the partitions that this process leads."""

    def __init__(
        self, outbox: EventOutbox, writer: EventWriter, publisher: Publisher, leadership: Leadership, tally: Tally
    ) -> None:
        self._outbox = outbox
        self._writer = writer
        self._publisher = publisher
        self._leadership = leadership
        self._tally = tally
        self._lost: tuple[Sequence[int], int] = ((), 0)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """This process leads something; again and again is fine."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._go_on())

    def stop(self) -> None:
        """It leads nothing, any more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _go_on(self) -> None:
        while True:
            try:
                pause_seconds = await self.look()
            except StoreUnavailableError as error:
                pause_seconds = IDLE_SECONDS
                _log.debug("events are looked at again: %s", error)
            except Exception:
                # A loop that keeps promises must outlive any single failure.
                pause_seconds = IDLE_SECONDS
                _log.exception("events cannot be published")
            await asyncio.sleep(pause_seconds)

    async def look(self) -> float:
        """Publish a batch of each partition; returns in how many seconds to look again.

        :raises StoreUnavailableError: what has been published may be so again.
        """
        numbers = sorted(await aside(self._outbox.partitions) & self._leadership.epochs.keys())
        if not numbers:
            return IDLE_SECONDS
        waiting = await aside(self._outbox.waiting, EVENTS_PER_READ, numbers)
        if waiting:
            await self._publish(waiting, numbers)
        await self._note_backlog(numbers)
        return 0.0 if waiting else LOOK_SECONDS

    async def _publish(self, waiting: Sequence[Emitted], numbers: Sequence[int]) -> None:
        messages = await aside(self._writer.write, waiting)
        confirmed = asyncio.Event()
        self._publisher.publish(messages, confirmed.set)
        while not await _happens(confirmed, PATIENCE_SECONDS):
            await self._note_backlog(numbers)
        await aside(self._outbox.forget, waiting)
        self._tally.count("events_published_total", amount=len(messages))

    async def _note_backlog(self, numbers: Sequence[int]) -> None:
        backlog = await aside(self._outbox.backlog, numbers)
        self._tally.set("events_waiting", backlog.waiting)
        self._tally.set("events_lost", backlog.lost)
        numbers_before, lost_before = self._lost
        if numbers == numbers_before and backlog.lost > lost_before:
            _log.error(
                "%d events were lost: the broker was away for so long that there was no more room for them",
                backlog.lost - lost_before,
            )
        self._lost = numbers, backlog.lost


async def _happens(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
