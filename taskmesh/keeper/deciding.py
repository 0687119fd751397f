"""Decides about ticks that are due, and begins the runs of those that are recorded.

Any keeper may: the scripts take a decision about the newest definition alone, and about a tick that nothing was decided
about. What they record is begun by whoever reads it, again and again until the broker has confirmed its messages, under
a run id that the tick gives. So keepers that do the same at the same time only waste work, and one may die, pause or be
slow anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from taskmesh.clock import Clock
from taskmesh.dispatch.dispatcher import Dispatcher
from taskmesh.dispatch.ticks import Definitions, Known, TickRuns
from taskmesh.keeper.active_runs import ActiveRuns
from taskmesh.keeper.leadership import Leadership
from taskmesh.keeper.signs import OwnSigns
from taskmesh.model.schedules.schedule import run_id_of
from taskmesh.model.schedules.ticks import decide
from taskmesh.observability.tally import Tally
from taskmesh.store.aside import aside
from taskmesh.store.calls import Word
from taskmesh.store.housekeeping import Housekeeping
from taskmesh.store.keys import Keys
from taskmesh.store.schedules.calls import Fired, Firing, Recorded, SettledTick, Standing
from taskmesh.store.schedules.life_signs import LifeSigns
from taskmesh.store.schedules.reader import ScheduleReader
from taskmesh.store.schedules.schedules import Schedules

SCHEDULES_PER_BATCH = 100
"""How many schedules are prepared, or decided about, with one exchange."""

RUNS_PER_BATCH = 200
"""How many runs are admitted, or settled, with one exchange."""

TIMES_READ = 3
"""How often the store's time is asked for to know it once."""

UNREADABLE_SECONDS = 60.0
"""A schedule that cannot be read now makes room for others so long."""


@dataclass(frozen=True, slots=True)
class SchedulerParts:
    """What a keeper needs for schedules."""

    housekeeping: Housekeeping
    keys: Keys
    reader: ScheduleReader
    schedules: Schedules
    definitions: Definitions
    runs: TickRuns
    dispatcher: Dispatcher
    active: ActiveRuns
    signs: LifeSigns
    leadership: Leadership
    tally: Tally
    clock: Clock


class Coming(NamedTuple):
    """When the next run of a schedule begins, by the monotonic clock."""

    at: float
    schedule_id: str


class Decider:
    """Decides and begins. ``on_begun`` is called on the loop when there is something to settle."""

    def __init__(self, parts: SchedulerParts, on_begun: Callable[[], None]) -> None:
        self._parts = parts
        self._on_begun = on_begun
        self._begun: list[SettledTick] = []
        self._under_way: set[Recorded] = set()
        """What this process has given to the broker, and not settled yet."""
        self._signs = OwnSigns(parts.signs, parts.leadership.holder, self.now_seconds)
        self.offset = 0.0
        """How far the monotonic clock is ahead of the store's."""

    @property
    def has_begun(self) -> bool:
        """There is something to settle."""
        return bool(self._begun)

    @property
    def is_done(self) -> bool:
        """All that this process has taken up is settled, and others do not know yet."""
        return self._signs.are_given and not self._under_way

    def has_taken_up(self, recorded: Recorded) -> bool:
        """This process has published it, and waits for the broker or has it to settle."""
        return recorded in self._under_way

    async def tell_done(self) -> None:
        """Let others know."""
        await self._signs.end()

    def stop(self) -> None:
        """Leave what is not done to others."""
        self._signs.stop()

    def now_seconds(self) -> float:
        """The store's time, by the monotonic clock since it was read last."""
        return self._parts.clock.monotonic() - self.offset

    async def read_clock(self) -> None:
        self.offset = await aside(self._read_offset)

    async def prepare(self, schedule_ids: Sequence[str]) -> None:
        """Read and reckon ahead what is needed when they are due."""
        for start in range(0, len(schedule_ids), SCHEDULES_PER_BATCH):
            standings = await self._standings(schedule_ids[start : start + SCHEDULES_PER_BATCH])
            known = await self._known(standings)
            for each in standings:
                found = known.get((each.schedule_id, each.revision))
                if found is not None and each.next_tick is not None:
                    found.timetable.after(each.next_tick)

    async def fire(self, due: Mapping[str, float]) -> list[Coming]:
        """Decide about schedules that are due, each with when by the monotonic clock; returns what comes next of those
        that were decided about.

        :raises StoreUnavailableError: some may have been decided about.
        """
        standings = [each for each in await self._standings(list(due)) if each.next_tick is not None]
        firings = await self._firings(standings)
        if not firings:
            return []
        await self._signs.begin()
        answers = await aside(self._parts.schedules.fire_schedules, firings)
        await self.begin([recorded for answer in answers for recorded in answer.recorded])
        coming = self._note(firings, answers, due)
        await self.relieve(
            [each.standing.schedule_id for each, answer in zip(firings, answers, strict=True) if answer.is_busy]
        )
        return coming

    async def relieve(self, schedule_ids: Sequence[str]) -> None:
        """Let go what waited in them and may; end runs that are wished away."""
        standings = await self._standings(schedule_ids) if schedule_ids else []
        if not standings:
            return
        await aside(self._parts.active.stop_unwanted, standings)
        ended = await self._ended(standings)
        await self._signs.begin()
        relieved = [(each, ended.get(each.schedule_id, ())) for each in standings]
        answers = await aside(self._parts.schedules.relieve_schedules, relieved)
        await self.begin([recorded for answer in answers for recorded in answer.recorded])

    async def take_over(self, recorded: Sequence[Recorded]) -> None:
        """Begin what others have recorded, unless the broker is away: then they, too, only wait for it."""
        if self._parts.dispatcher.is_open:
            await self.begin(recorded)

    async def begin(self, recorded: Sequence[Recorded]) -> None:
        """Admit the runs of ticks and publish their first nodes, but for those that this process has published."""
        news = [each for each in recorded if not self.has_taken_up(each)]
        if news:
            await self._signs.begin()
        for start in range(0, len(news), RUNS_PER_BATCH):
            ready, settled = await aside(self._parts.runs.admit, news[start : start + RUNS_PER_BATCH])
            begun = [each for each in settled if not each.why or self.leads(each.recorded.schedule_id)]
            self._under_way.update(each.recorded for each in begun)
            # Until the broker has confirmed them, nobody else may take the ticks for done.
            self._parts.dispatcher.publish(ready, partial(self._note_begun, begun))

    async def settle(self) -> None:
        """Be done with some of what has begun. What is lost of it begins again."""
        settled, self._begun = self._begun[:RUNS_PER_BATCH], self._begun[RUNS_PER_BATCH:]
        try:
            await aside(self._parts.schedules.settle_ticks, settled)
        finally:
            self._under_way.difference_update(each.recorded for each in settled)

    def _note_begun(self, begun: Sequence[SettledTick]) -> None:
        self._begun += begun
        self._on_begun()

    def _note(self, firings: Sequence[Firing], answers: Sequence[Fired], due: Mapping[str, float]) -> list[Coming]:
        now = self._parts.clock.monotonic()
        coming = []
        for firing, answer in zip(firings, answers, strict=True):
            if answer.word is not Word.FIRED:
                continue
            schedule_id = firing.standing.schedule_id
            for _ in answer.recorded:
                self._parts.tally.observe("schedule_lateness_seconds", max(0.0, now - due[schedule_id]))
            if firing.begins_at is not None:
                coming.append(Coming(firing.begins_at / 1000 + self.offset, schedule_id))
        return coming

    async def _firings(self, standings: Sequence[Standing]) -> list[Firing]:
        known = await self._known(standings)
        await self._postpone([each for each in standings if (each.schedule_id, each.revision) not in known])
        ended = await self._ended(standings)
        now = round(self.now_seconds() * 1000)
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

    async def _postpone(self, unreadable: Sequence[Standing]) -> None:
        # Another keeper, of a later version, may be able to read it: only the leader gives up.
        ids = [each.schedule_id for each in unreadable if self.leads(each.schedule_id)]
        if ids:
            await aside(self._parts.schedules.postpone, ids, self.now_seconds() + UNREADABLE_SECONDS)

    async def _standings(self, schedule_ids: Sequence[str]) -> list[Standing]:
        found = await aside(self._parts.reader.standings, schedule_ids)
        return [each for each in found if each is not None]

    async def _known(self, standings: Sequence[Standing]) -> Mapping[tuple[str, str], Known]:
        return await aside(self._parts.definitions.of, [(each.schedule_id, each.revision) for each in standings])

    async def _ended(self, standings: Sequence[Standing]) -> Mapping[str, Sequence[str]]:
        return await aside(self._parts.active.ended, standings)

    def leads(self, schedule_id: str) -> bool:
        return self._parts.keys.partition_of(schedule_id).number in self._parts.leadership.epochs

    def _read_offset(self) -> float:
        # Taken after the answer, so the store's clock is never ahead of what is reckoned here, and nothing is early;
        # of several, the one whose answer was on its way for the shortest time.
        times = (self._parts.housekeeping.time() for _ in range(TIMES_READ))
        return min(self._parts.clock.monotonic() - time for time in times)
