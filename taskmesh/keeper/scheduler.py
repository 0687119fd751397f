"""The keeper's schedules: read ahead from the store, and rung when they are due.

A keeper rings what is due in the partitions that it leads, and looks after those of others where it stands in.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush

from taskmesh.errors import StoreUnavailableError
from taskmesh.keeper.deciding import SCHEDULES_PER_BATCH, Coming, Decider, SchedulerParts
from taskmesh.keeper.signs import LEFT_SECONDS
from taskmesh.keeper.standing_in import RECORDED_PER_READ, SCHEDULES_PER_READ, STAND_INS, Overdue
from taskmesh.store.aside import aside

AHEAD_SECONDS = 1.5
"""How far ahead schedules are read; more than IDLE_SECONDS and DELAY_SECONDS together, so that none is due before it
was read."""

BUSY_SECONDS = 0.1
IDLE_SECONDS = 0.5
"""How often it looks, with and without ticks that wait for the end of a run."""

REST_FACTOR = 4
"""Between looks it rests so much longer than a look takes, but never longer than IDLE_SECONDS."""

DELAY_SECONDS = 0.5
"""So long a look waits for schedules that are due."""

BUSY_PER_READ = 50
"""Of one partition. What is left over is read with the next look."""

AT_ONCE = 2
"""How many batches of schedules are decided about at the same time: so the store works on one while this process
reckons the other."""

AGAIN_SECONDS = 0.2
"""After a store that did not answer."""

_log = logging.getLogger(__name__)


class Scheduler:
    """Begins what is due. One task: looks and what is due never meet."""

    def __init__(self, parts: SchedulerParts) -> None:
        self._parts = parts
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._decider = Decider(parts, self._woken.set)
        self._overdue = Overdue(parts, self._decider)
        self._look_at = 0.0
        """When to look next, by the monotonic clock."""
        self._due: list[Coming] = []
        """A heap of schedules of the partitions that are led."""
        self._prepared: dict[str, float] = {}
        """The schedules of the last look, and when they begin, by the store's clock."""

    def start(self) -> None:
        """This process keeps house; again and again is fine."""
        if self._task is None:
            self._look_at = self._parts.clock.monotonic()
            self._task = self._loop.create_task(self._go_on())

    def stop(self) -> None:
        """It keeps house no more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._decider.stop()
        self._forget()

    async def _go_on(self) -> None:
        while True:
            try:
                await self._do_next()
            except StoreUnavailableError as error:
                _log.debug("schedules are looked at again: %s", error)
            except Exception:
                # A loop that keeps promises must outlive any single failure.
                _log.exception("schedules cannot be looked at")

    async def _do_next(self) -> None:
        """Begin what is due; with nothing due be done with what has begun, look what others left, look ahead, rest."""
        now = self._parts.clock.monotonic()
        first = self._due[0].at if self._due else math.inf
        if first <= now < self._look_at + DELAY_SECONDS:
            await self._ring(now)
        elif self._decider.has_begun:
            await self._decider.settle()
        elif self._decider.is_done:
            await self._decider.tell_done()
        elif self._overdue.next_at <= now < self._look_at + DELAY_SECONDS:
            await self._stand_in(now)
        elif self._look_at <= now:
            await self._look(now)
        else:
            await self._rest(min(first, self._overdue.next_at, self._look_at) - now)

    async def _rest(self, seconds: float) -> None:
        self._woken.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    async def _look(self, begun: float) -> None:
        # Should it fail, the next one is no sooner.
        self._look_at = begun + IDLE_SECONDS
        waits = await self._read_ahead()
        ended = self._parts.clock.monotonic()
        pause_seconds = max(BUSY_SECONDS, REST_FACTOR * (ended - begun)) if waits else IDLE_SECONDS
        self._look_at = ended + min(pause_seconds, IDLE_SECONDS)

    async def _read_ahead(self) -> bool:
        """Begin what was recorded, let go what waited, note what is due; says whether anything waits."""
        reader, turns = self._parts.reader, dict(self._parts.leadership.turns)
        scheduling = await aside(reader.partitions)
        turns = {number: turn for number, turn in turns.items() if number in scheduling and turn <= STAND_INS}
        if not turns:
            self._forget()
            return False
        await self._decider.read_clock()
        now = self._decider.now_seconds()
        left = dict.fromkeys(turns, now - LEFT_SECONDS)
        await self._decider.take_over([each for each, _ in await aside(reader.recorded, left, RECORDED_PER_READ)])
        due = dict(await aside(reader.due, dict.fromkeys(turns, now + AHEAD_SECONDS), SCHEDULES_PER_READ))
        await self._decider.prepare([each for each, at in due.items() if self._prepared.get(each) != at])
        self._expect(due, turns)
        left = {number: now - LEFT_SECONDS if turn else math.inf for number, turn in turns.items()}
        busy = await aside(reader.busy, left, BUSY_PER_READ)
        await self._decider.relieve(busy)
        return bool(busy)

    def _expect(self, due: Mapping[str, float], turns: Mapping[int, int]) -> None:
        self._prepared = dict(due)
        coming = [Coming(at + self._decider.offset, schedule_id) for schedule_id, at in due.items()]
        self._due = [each for each in coming if not turns[self._number(each)]]
        heapify(self._due)
        self._overdue.expect(coming, turns)

    def _forget(self) -> None:
        self._due, self._prepared = [], {}
        self._overdue.expect((), {})

    async def _ring(self, now: float) -> None:
        due: dict[str, float] = {}
        while self._due and self._due[0].at <= now and len(due) < AT_ONCE * SCHEDULES_PER_BATCH:
            each = heappop(self._due)
            due[each.schedule_id] = each.at
        await self._fire(due)

    async def _stand_in(self, now: float) -> None:
        """Do what others should have done."""
        due, recorded = await self._overdue.look(now)
        await self._decider.take_over(recorded)
        await self._fire(due)

    async def _fire(self, due: Mapping[str, float]) -> None:
        ids = list(due)
        batches = [ids[start : start + SCHEDULES_PER_BATCH] for start in range(0, len(ids), SCHEDULES_PER_BATCH)]
        await asyncio.gather(*(self._try({each: due[each] for each in batch}) for batch in batches))

    async def _try(self, due: Mapping[str, float]) -> None:
        """What fails comes again and spares the others."""
        try:
            coming = await self._decider.fire(due)
        except StoreUnavailableError as error:
            _log.warning("%s; schedules that are due are looked at as soon as it does", error)
            again_at = self._parts.clock.monotonic() + AGAIN_SECONDS
            self._expect_also([Coming(again_at, schedule_id) for schedule_id in due])
        except Exception:
            _log.exception("schedules that are due cannot be begun")
        else:
            soon = self._parts.clock.monotonic() + AHEAD_SECONDS
            self._expect_also([each for each in coming if each.at < soon])

    def _expect_also(self, coming: Sequence[Coming]) -> None:
        for each in coming:
            self._overdue.expect_also(each)
            if self._decider.leads(each.schedule_id):
                heappush(self._due, each)

    def _number(self, coming: Coming) -> int:
        return self._parts.keys.partition_of(coming.schedule_id).number
