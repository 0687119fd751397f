"""The keeper's schedules: read ahead from the store, begun when they are due, each tick once.

The authority is Redis: the scripts take a decision only from the leader of the partition, about the newest definition,
and about a tick that nothing was decided about. What they record is begun by whoever reads it, again and again until
it is settled, under a run id that the tick gives; so a keeper may die, pause or be slow anywhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from taskmesh.clock import Clock
from taskmesh.dispatch.ticks import Definitions, TickRuns
from taskmesh.errors import StoreUnavailableError
from taskmesh.keeper.active_runs import ActiveRuns
from taskmesh.keeper.leadership import Leadership
from taskmesh.model.schedules import run_id_of
from taskmesh.model.ticks import decide
from taskmesh.observability.tally import Tally
from taskmesh.store.calls import Word
from taskmesh.store.housekeeping import Housekeeping
from taskmesh.store.keys import Keys
from taskmesh.store.schedule_calls import Fired, Firing, Recorded, SettledTick, Standing
from taskmesh.store.schedule_reader import ScheduleReader
from taskmesh.store.schedules import Schedules

AHEAD_SECONDS = 1.5
"""How far ahead schedules are read; more than IDLE_SECONDS, so that none is due before it was read."""

BUSY_SECONDS = 0.1
IDLE_SECONDS = 0.5
"""How often it looks, with and without ticks that wait for the end of a run."""

REST_FACTOR = 4
"""Between looks it rests so much longer than a look takes."""

SCHEDULES_PER_READ = 1000
RECORDED_PER_READ = 1000
BUSY_PER_READ = 50
"""Of one partition. What is left over is read with the next look."""

SCHEDULES_PER_TURN = 100
"""How many schedules are decided about before the loop may do something else."""

RUNS_PER_BATCH = 200

AGAIN_SECONDS = 0.2
"""After a store that did not answer."""

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
    active: ActiveRuns
    leadership: Leadership
    tally: Tally
    clock: Clock


class Scheduler:
    """Begins what is due in the partitions that this process leads. One thread, on its loop."""

    def __init__(self, parts: SchedulerParts) -> None:
        self._parts = parts
        self._loop = asyncio.get_running_loop()
        self._look_timer: asyncio.TimerHandle | None = None
        self._ring_timer: asyncio.TimerHandle | None = None
        self._due: list[tuple[float, str]] = []
        """A heap of schedules by when they begin next, by the monotonic clock."""
        self._offset = 0.0
        """How far the monotonic clock is ahead of the store's."""
        self._settled: list[SettledTick] = []

    def start(self) -> None:
        """This process leads something; again and again is fine."""
        if self._look_timer is None:
            self._look_timer = self._loop.call_later(0.0, self._look)

    def stop(self) -> None:
        """It leads nothing, any more."""
        for timer in (self._look_timer, self._ring_timer):
            if timer is not None:
                timer.cancel()
        self._look_timer = self._ring_timer = None
        self._due.clear()

    def _look(self) -> None:
        begun = self._parts.clock.monotonic()
        waits = False
        try:
            waits = self._read_ahead()
        except StoreUnavailableError as error:
            _log.debug("schedules cannot be read: %s", error)
        except Exception:
            # A loop that keeps promises must outlive any single failure.
            _log.exception("schedules cannot be read")
        rest_seconds = REST_FACTOR * (self._parts.clock.monotonic() - begun)
        self._look_timer = self._loop.call_later(max(BUSY_SECONDS if waits else IDLE_SECONDS, rest_seconds), self._look)

    def _read_ahead(self) -> bool:
        """Begin what was recorded, let go what waited, set the alarm; says whether anything waits."""
        reader = self._parts.reader
        numbers = sorted(reader.partitions() & self._parts.leadership.epochs.keys())
        if not numbers:
            self._due.clear()
            return False
        now = self._parts.housekeeping.time()
        # Taken after the answer, so the store's clock is never ahead of what is reckoned here, and nothing is early.
        self._offset = self._parts.clock.monotonic() - now
        self._settle()
        self._begin(reader.recorded(RECORDED_PER_READ, numbers))
        due = reader.due(now + AHEAD_SECONDS, SCHEDULES_PER_READ, numbers)
        self._prepare([schedule_id for schedule_id, _ in due])
        self._due = [(at + self._offset, schedule_id) for schedule_id, at in due]
        heapify(self._due)
        self._set_alarm()
        busy = reader.busy(BUSY_PER_READ, numbers)
        self._relieve(busy)
        return bool(busy)

    def _prepare(self, schedule_ids: Sequence[str]) -> None:
        """Read and reckon ahead what is needed when they are due."""
        standings = [each for each in self._parts.reader.standings(schedule_ids) if each is not None]
        known = self._parts.definitions.of([(each.schedule_id, each.revision) for each in standings])
        for each in standings:
            found = known.get((each.schedule_id, each.revision))
            if found is not None and each.next_tick is not None:
                found.timetable.after(each.next_tick)

    def _set_alarm(self) -> None:
        if self._ring_timer is not None:
            self._ring_timer.cancel()
            self._ring_timer = None
        if self._due:
            wait_seconds = self._due[0][0] - self._parts.clock.monotonic()
            self._ring_timer = self._loop.call_later(max(0.0, wait_seconds), self._ring)

    def _ring(self) -> None:
        now = self._parts.clock.monotonic()
        due: dict[str, float] = {}
        while self._due and self._due[0][0] <= now and len(due) < SCHEDULES_PER_TURN:
            at, schedule_id = heappop(self._due)
            due[schedule_id] = at
        try:
            self._fire(due)
        except StoreUnavailableError as error:
            _log.warning("%s; schedules that are due are looked at as soon as it does", error)
            for schedule_id in due:
                heappush(self._due, (now + AGAIN_SECONDS, schedule_id))
        except Exception:
            _log.exception("schedules that are due cannot be begun")
        finally:
            self._set_alarm()
            if not self._due or self._due[0][0] > self._parts.clock.monotonic():
                self._loop.call_soon(self._settle_later)

    def _fire(self, due: dict[str, float]) -> None:
        standings = [each for each in self._parts.reader.standings(list(due)) if each is not None]
        firings = self._firings([each for each in standings if each.next_tick is not None])
        if not firings:
            return
        answers = self._parts.schedules.fire_schedules(firings, self._parts.leadership.epochs)
        self._begin([recorded for answer in answers for recorded in answer.recorded])
        self._note(firings, answers, due)
        self._relieve(
            [each.standing.schedule_id for each, answer in zip(firings, answers, strict=True) if answer.is_busy]
        )

    def _firings(self, standings: Sequence[Standing]) -> list[Firing]:
        led = [each for each in standings if self._leads(each.schedule_id)]
        known = self._parts.definitions.of([(each.schedule_id, each.revision) for each in led])
        unreadable = [each.schedule_id for each in led if (each.schedule_id, each.revision) not in known]
        if unreadable:
            self._parts.schedules.postpone(unreadable, self._now_seconds() + UNREADABLE_SECONDS)
        ended = self._parts.active.ended(led)
        now = round(self._now_seconds() * 1000)
        firings = []
        for each in led:
            found = known.get((each.schedule_id, each.revision))
            if found is None or each.next_tick is None:
                continue
            step = decide(found.schedule, found.timetable, each.next_tick, now)
            if step.begin or step.missed:
                begin = [(tick, run_id_of(each.schedule_id, tick)) for tick in step.begin]
                over = ended.get(each.schedule_id, ())
                firings.append(Firing(each, step.following, step.begins_at, begin, step.missed, over))
        return firings

    def _begin(self, recorded: Sequence[Recorded]) -> None:
        for start in range(0, len(recorded), RUNS_PER_BATCH):
            self._settled += self._parts.runs.begin(recorded[start : start + RUNS_PER_BATCH])

    def _settle(self) -> None:
        """Be done with what has begun. Ticks that are due do not wait for it; what is lost of it begins again."""
        settled, self._settled = self._settled, []
        if settled:
            self._parts.schedules.settle_ticks(settled)

    def _settle_later(self) -> None:
        try:
            self._settle()
        except StoreUnavailableError as error:
            _log.debug("ticks that have begun are looked at again: %s", error)

    def _note(self, firings: Sequence[Firing], answers: Sequence[Fired], due: dict[str, float]) -> None:
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

    def _relieve(self, schedule_ids: Sequence[str]) -> None:
        found = self._parts.reader.standings(schedule_ids) if schedule_ids else []
        led = [each for each in found if each is not None and self._leads(each.schedule_id)]
        if not led:
            return
        self._parts.active.stop_unwanted(led)
        ended = self._parts.active.ended(led)
        relieved = [(each, ended.get(each.schedule_id, ())) for each in led]
        answers = self._parts.schedules.relieve_schedules(relieved, self._parts.leadership.epochs)
        self._begin([recorded for answer in answers for recorded in answer.recorded])

    def _leads(self, schedule_id: str) -> bool:
        return self._parts.keys.partition_of(schedule_id).number in self._parts.leadership.epochs

    def _now_seconds(self) -> float:
        """The store's time, by the monotonic clock since it was read last."""
        return self._parts.clock.monotonic() - self._offset
