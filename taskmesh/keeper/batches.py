"""Closes batches of events whose time is over, and begins the runs of those that are closed.

Any number of keepers may do so at the same time: the scripts close a batch once, and its run has one id. Only the
leader of a partition looks after it, so that the work is shared.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from taskmesh.broker.protocol import EVENTS, inbound_events_name
from taskmesh.dispatch.dispatcher import Ready
from taskmesh.dispatch.events.batches import BatchRuns, BegunBatch
from taskmesh.dispatch.events.runs import EVENT_REFUSED
from taskmesh.keeper.leadership import Leadership
from taskmesh.model.events.gathering import run_id_of
from taskmesh.observability.tally import Tally
from taskmesh.store.aside import aside
from taskmesh.store.calls import Word
from taskmesh.store.events.batch_reader import EventBatchReader, Standing
from taskmesh.store.events.batches import BatchKey, EventBatches
from taskmesh.store.letters import DeadLetter, Letters

BATCHES_PER_LOOK = 200
"""So many are closed, and begun, before timers are looked at again; what is left over comes with the next look."""

BYTES_AT_ONCE = 4 * 1_048_576
"""So much of parameters is read and admitted together."""

AHEAD_SECONDS = 1.5
"""A batch that closes so soon is waited for with shorter rests."""

AGAIN_SECONDS = 60.0
"""What cannot be closed or begun now makes room for others so long."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchParts:
    """What looks after batches works with. ``holder`` gives up what cannot begin, in this ``namespace``."""

    batches: EventBatches
    reader: EventBatchReader
    runs: BatchRuns
    letters: Letters
    publish: Callable[[Sequence[Ready]], None]
    leadership: Leadership
    tally: Tally
    holder: str
    namespace: str


class Batches:
    """Looks after the batches of the partitions that this process leads."""

    def __init__(self, parts: BatchParts) -> None:
        self._parts = parts

    async def look(self, now: float) -> bool:
        """Close and begin what is due; says whether to look again soon. ``now`` by the store's clock.

        :raises StoreUnavailableError: the rest is done by the next look.
        """
        reader = self._parts.reader
        numbers = sorted(await aside(reader.partitions) & self._parts.leadership.epochs.keys())
        if not numbers:
            return False
        closing = await aside(reader.next_to_close, BATCHES_PER_LOOK, numbers)
        await self._close([gathering_id for gathering_id, at in closing if at <= now][:BATCHES_PER_LOOK], now)
        # Those of this look have been closed a moment after `now`; what was put off is far behind that.
        soon = now + AHEAD_SECONDS
        closed = [batch for batch, at in await aside(reader.closed, BATCHES_PER_LOOK, numbers) if at <= soon]
        await self._begin(closed[:BATCHES_PER_LOOK], now)
        self._parts.tally.set("event_batches_open", await aside(reader.count, numbers))
        return bool(closed) or any(at <= soon for _, at in closing)

    async def _close(self, gathering_ids: Sequence[str], now: float) -> None:
        if not gathering_ids:
            return
        words = await aside(self._parts.batches.close_batches, gathering_ids)
        broken = [each for each, word in zip(gathering_ids, words, strict=True) if word is Word.BROKEN]
        if broken:
            await aside(self._parts.batches.postpone, broken, [], now + AGAIN_SECONDS)

    async def _begin(self, closed: Sequence[BatchKey], now: float) -> None:
        found = await aside(self._parts.reader.closed_standings, closed) if closed else []
        await self._put_off([batch for batch, standing in zip(closed, found, strict=True) if standing is None], now)
        for some in _portions([each for each in found if each is not None]):
            await self._begin_some(some, now)

    async def _begin_some(self, standings: Sequence[Standing], now: float) -> None:
        contents = await aside(self._parts.reader.contents, standings)
        pairs = zip(standings, contents, strict=True)
        await self._put_off([each.batch for each, content in pairs if content is None], now)
        ready, begun = await aside(self._parts.runs.admit, [each for each in contents if each is not None])
        self._parts.publish(ready)
        done = [each for each in begun if not each.why or await self._bury(each, now)]
        settled = [(each.closed.standing.batch, not each.why) for each in done]
        words = await aside(self._parts.batches.settle_batches, settled)
        broken = [batch for (batch, _), word in zip(settled, words, strict=True) if word is Word.BROKEN]
        await self._put_off(broken, now)
        self._parts.tally.count("event_batches_begun_total", amount=sum(is_begun for _, is_begun in settled))

    async def _put_off(self, damaged: Sequence[BatchKey], now: float) -> None:
        if damaged:
            _log.error("%d batches of events are damaged in the store, and are looked at again later", len(damaged))
            await aside(self._parts.batches.postpone, [], damaged, now + AGAIN_SECONDS)

    async def _bury(self, refused: BegunBatch, now: float) -> bool:
        """Make a dead letter of each event of a batch that cannot begin; says whether there was room for all."""
        batch = refused.closed.standing.batch
        letters = [(self._letter(refused, place, now), event) for place, event in enumerate(refused.closed.events)]
        if not all(await aside(self._parts.letters.keep, letters)):
            _log.error("the store keeps no more dead letters; a batch of events that cannot begin waits for room")
            await aside(self._parts.batches.postpone, [], [batch], now + AGAIN_SECONDS)
            return False
        self._parts.tally.count("dead_letters_total", (EVENT_REFUSED,), len(letters))
        _log.error("a batch of %d events became dead letters: %s", len(letters), refused.why)
        return True

    def _letter(self, refused: BegunBatch, place: int, now: float) -> DeadLetter:
        run_id = run_id_of(*refused.closed.standing.batch)
        return DeadLetter(
            # The same when this is done again.
            id=f"{run_id}-{place}",
            at=now,
            reason=EVENT_REFUSED,
            detail=refused.why,
            pool=EVENTS,
            queue=inbound_events_name(self._parts.namespace),
            routing_key="",
            worker=self._parts.holder,
            run_id=None,
            node=None,
            size=len(refused.closed.events[place]),
        )


def _portions(standings: Sequence[Standing]) -> Iterator[list[Standing]]:
    """Batches that are not too large together, or one by itself."""
    some: list[Standing] = []
    size = 0
    for each in standings:
        if some and size + each.weight > BYTES_AT_ONCE:
            yield some
            some, size = [], 0
        some.append(each)
        size += each.weight
    if some:
        yield some
