"""The keeper's schedules: read ahead from the store, begun when they are due, each tick once.

The authority is Redis: the scripts take a decision only from the leader of the partition, about the newest definition,
and about a tick that nothing was decided about. What they record is begun by whoever reads it, again and again until
it is settled, under a run id that the tick gives; so a keeper may die, pause or be slow anywhere.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from taskmesh.clock import Clock
from taskmesh.dispatch.dispatcher import Ready
from taskmesh.dispatch.ticks import Definitions, Known, TickRuns
from taskmesh.errors import StoreUnavailableError
from taskmesh.keeper.active_runs import ActiveRuns
from taskmesh.keeper.leadership import Leadership
from taskmesh.model.schedules import run_id_of
from taskmesh.model.ticks import decide
from taskmesh.observability.tally import Tally
from taskmesh.store.aside import aside
from taskmesh.store.calls import Word
from taskmesh.store.housekeeping import Housekeeping
from taskmesh.store.keys import Keys
from taskmesh.store.schedule_calls import Fired, Firing, Recorded, SettledTick, Standing
from taskmesh.store.schedule_reader import ScheduleReader
from taskmesh.store.schedules import Schedules

AHEAD_SECONDS = 1.5
"""How far ahead schedules are read; more than IDLE_SECONDS and PATIENCE_SECONDS together, so that none is due before it
was read."""

BUSY_SECONDS = 0.1
IDLE_SECONDS = 0.5
"""How often it looks, with and without ticks that wait for the end of a run."""

REST_FACTOR = 4
"""Between looks it rests so much longer than a look takes, but never longer than IDLE_SECONDS."""

PATIENCE_SECONDS = 0.5
"""So long a look waits for schedules that are due."""

SCHEDULES_PER_READ = 1000
RECORDED_PER_READ = 1000
BUSY_PER_READ = 50
"""Of one partition. What is left over is read with the next look."""

SCHEDULES_PER_BATCH = 100
AT_ONCE = 2
"""How many schedules are decided about with one exchange, and how many of these are under way at the same time: so
the store works on one batch while this process reckons another."""

RUNS_PER_BATCH = 200
"""How many runs are admitted, or settled, with one exchange."""

AGAIN_SECONDS = 0.2
"""After a store that did not answer."""

TIMES_READ = 3
"""How often the store's time is asked for with each look."""

UNREADABLE_SECONDS = 60.0
"""A schedule that cannot be read now makes room for others so long."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SchedulerParts:
    """What a scheduler works with."""

    housekeeping: Housekeeping
    keys: Keys
    reader: ScheduleReader
    schedules: Schedules
    definitions: Definitions
    runs: TickRuns
    publish: Callable[[Sequence[Ready]], None]
    active: ActiveRuns
    leadership: Leadership
    tally: Tally
    clock: Clock


class Scheduler:
    """Begins what is due in the partitions that this process leads. One task: looks and what is due never meet."""

    def __init__(self, parts: SchedulerParts) -> None:
        self._parts = parts
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._look_at = 0.0
        """When to look next, by the monotonic clock."""
        self._due: list[tuple[float, str]] = []
        """A heap of schedules by when they begin next, by the monotonic clock."""
        self._prepared: dict[str, float] = {}
        """The schedules of the last look, and when they begin, by the store's clock."""
        self._offset = 0.0
        """How far the monotonic clock is ahead of the store's."""
        self._settled: list[SettledTick] = []

    def start(self) -> None:
        """This process leads something; again and again is fine."""
        if self._task is None:
            self._look_at = self._parts.clock.monotonic()
            self._task = self._loop.create_task(self._go_on())

    def stop(self) -> None:
        """It leads nothing, any more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._due = []
        self._prepared = {}

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
        """Begin what is due; with nothing due be done with what has begun, then look, then rest."""
        now = self._parts.clock.monotonic()
        first = self._due[0][0] if self._due else math.inf
        if first <= now < self._look_at + PATIENCE_SECONDS:
            await self._ring(now)
        elif self._settled:
            await self._settle()
        elif self._look_at <= now:
            await self._look(now)
        else:
            await asyncio.sleep(min(first, self._look_at) - now)

    async def _look(self, begun: float) -> None:
        # Should it fail, the next one is no sooner.
        self._look_at = begun + IDLE_SECONDS
        waits = await self._read_ahead()
        ended = self._parts.clock.monotonic()
        pause_seconds = max(BUSY_SECONDS, REST_FACTOR * (ended - begun)) if waits else IDLE_SECONDS
        self._look_at = ended + min(pause_seconds, IDLE_SECONDS)

    async def _read_ahead(self) -> bool:
        """Begin what was recorded, let go what waited, note what is due; says whether anything waits."""
        reader, led = self._parts.reader, dict(self._parts.leadership.epochs)
        numbers = sorted(await aside(reader.partitions) & led.keys())
        if not numbers:
            self._due = []
            return False
        self._offset = await aside(self._read_offset)
        now = self._now_seconds()
        await self._begin(await aside(reader.recorded, RECORDED_PER_READ, numbers))
        due = dict(await aside(reader.due, now + AHEAD_SECONDS, SCHEDULES_PER_READ, numbers))
        await self._prepare([each for each, at in due.items() if self._prepared.get(each) != at])
        self._prepared = due
        self._due = [(at + self._offset, schedule_id) for schedule_id, at in due.items()]
        heapify(self._due)
        busy = await aside(reader.busy, BUSY_PER_READ, numbers)
        await self._relieve(busy, led)
        return bool(busy)

    def _read_offset(self) -> float:
        """How far the monotonic clock is ahead of the store's."""
        # Taken after the answer, so the store's clock is never ahead of what is reckoned here, and nothing is early;
        # of several, the one whose answer was on its way for the shortest time.
        times = (self._parts.housekeeping.time() for _ in range(TIMES_READ))
        return min(self._parts.clock.monotonic() - time for time in times)

    async def _prepare(self, schedule_ids: Sequence[str]) -> None:
        """Read and reckon ahead what is needed when they are due."""
        for start in range(0, len(schedule_ids), SCHEDULES_PER_BATCH):
            standings = await self._standings(schedule_ids[start : start + SCHEDULES_PER_BATCH])
            known = await self._known(standings)
            for each in standings:
                found = known.get((each.schedule_id, each.revision))
                if found is not None and each.next_tick is not None:
                    found.timetable.after(each.next_tick)

    async def _ring(self, now: float) -> None:
        due: dict[str, float] = {}
        while self._due and self._due[0][0] <= now and len(due) < AT_ONCE * SCHEDULES_PER_BATCH:
            at, schedule_id = heappop(self._due)
            due[schedule_id] = at
        ids = list(due)
        batches = [ids[start : start + SCHEDULES_PER_BATCH] for start in range(0, len(ids), SCHEDULES_PER_BATCH)]
        await asyncio.gather(*(self._try({each: due[each] for each in batch}) for batch in batches))

    async def _try(self, due: Mapping[str, float]) -> None:
        """``_fire``, but what fails comes again and spares the others."""
        try:
            await self._fire(due, dict(self._parts.leadership.epochs))
        except StoreUnavailableError as error:
            _log.warning("%s; schedules that are due are looked at as soon as it does", error)
            again_at = self._parts.clock.monotonic() + AGAIN_SECONDS
            for schedule_id in due:
                heappush(self._due, (again_at, schedule_id))
        except Exception:
            _log.exception("schedules that are due cannot be begun")

    async def _fire(self, due: Mapping[str, float], led: Mapping[int, int]) -> None:
        standings = [each for each in await self._standings(list(due)) if each.next_tick is not None]
        firings = await self._firings(self._of_led(standings, led))
        if not firings:
            return
        answers = await aside(self._parts.schedules.fire_schedules, firings, led)
        await self._begin([recorded for answer in answers for recorded in answer.recorded])
        self._note(firings, answers, due)
        busy = [each.standing.schedule_id for each, answer in zip(firings, answers, strict=True) if answer.is_busy]
        await self._relieve(busy, led)

    async def _firings(self, standings: Sequence[Standing]) -> list[Firing]:
        known = await self._known(standings)
        unreadable = [each.schedule_id for each in standings if (each.schedule_id, each.revision) not in known]
        if unreadable:
            await aside(self._parts.schedules.postpone, unreadable, self._now_seconds() + UNREADABLE_SECONDS)
        ended = await self._ended(standings)
        now = round(self._now_seconds() * 1000)
        firings = []
        for each in standings:
            found = known.get((each.schedule_id, each.revision))
            if found is None or each.next_tick is None:
                continue
            step = decide(found.schedule, found.timetable, each.next_tick, now)
            if step.begin or step.missed:
                begin = [(tick, run_id_of(each.schedule_id, tick)) for tick in step.begin]
                over = ended.get(each.schedule_id, ())
                firings.append(Firing(each, step.following, step.begins_at, begin, step.missed, over))
        return firings

    async def _begin(self, recorded: Sequence[Recorded]) -> None:
        for start in range(0, len(recorded), RUNS_PER_BATCH):
            ready, settled = await aside(self._parts.runs.admit, recorded[start : start + RUNS_PER_BATCH])
            self._parts.publish(ready)
            self._settled += settled

    async def _settle(self) -> None:
        """Be done with some of what has begun. What is lost of it begins again."""
        settled, self._settled = self._settled[:RUNS_PER_BATCH], self._settled[RUNS_PER_BATCH:]
        await aside(self._parts.schedules.settle_ticks, settled)

    def _note(self, firings: Sequence[Firing], answers: Sequence[Fired], due: Mapping[str, float]) -> None:
        now = self._parts.clock.monotonic()
        for firing, answer in zip(firings, answers, strict=True):
            if answer.word is not Word.FIRED:
                continue
            schedule_id = firing.standing.schedule_id
            for _ in answer.recorded:
                self._parts.tally.observe("schedule_lateness_seconds", max(0.0, now - due[schedule_id]))
            begins_at = None if firing.begins_at is None else firing.begins_at / 1000 + self._offset
            if begins_at is not None and begins_at < now + AHEAD_SECONDS:
                heappush(self._due, (begins_at, schedule_id))

    async def _relieve(self, schedule_ids: Sequence[str], led: Mapping[int, int]) -> None:
        standings = self._of_led(await self._standings(schedule_ids), led) if schedule_ids else []
        if not standings:
            return
        await aside(self._parts.active.stop_unwanted, standings)
        ended = await self._ended(standings)
        relieved = [(each, ended.get(each.schedule_id, ())) for each in standings]
        answers = await aside(self._parts.schedules.relieve_schedules, relieved, led)
        await self._begin([recorded for answer in answers for recorded in answer.recorded])

    async def _standings(self, schedule_ids: Sequence[str]) -> list[Standing]:
        found = await aside(self._parts.reader.standings, schedule_ids)
        return [each for each in found if each is not None]

    async def _known(self, standings: Sequence[Standing]) -> Mapping[tuple[str, str], Known]:
        return await aside(self._parts.definitions.of, [(each.schedule_id, each.revision) for each in standings])

    async def _ended(self, standings: Sequence[Standing]) -> Mapping[str, Sequence[str]]:
        return await aside(self._parts.active.ended, standings)

    def _of_led(self, standings: Sequence[Standing], led: Mapping[int, int]) -> list[Standing]:
        return [each for each in standings if self._parts.keys.partition_of(each.schedule_id).number in led]

    def _now_seconds(self) -> float:
        """The store's time, by the monotonic clock since it was read last."""
        return self._parts.clock.monotonic() - self._offset
