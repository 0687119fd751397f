"""Who does what is due in a partition whose leader does not: the next in line, a moment later.

Leadership only saves work: two keepers that do the same do no harm. So those that follow the leader in line read ahead
what is due in its partitions, too, and look again a moment after that. Where all is decided that was one look; where it
is not, the leader is dead, paused or busy, and they decide. What is recorded they begin when they hear no sign of life
from some keeper that has taken ticks up. Each has a patience of its own, so that not all do it at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush

from taskmesh.keeper.deciding import Coming, Decider, SchedulerParts
from taskmesh.keeper.signs import LEFT_SECONDS, QUIET_SECONDS
from taskmesh.store.aside import aside
from taskmesh.store.schedules.calls import Recorded

STAND_INS = 2
"""How many look after a partition beside its leader, so many keepers may die at once."""

PATIENCE_SECONDS = 0.08
"""So long after it was due, or recorded, a tick is left to the leader at least."""

TURN_SECONDS = 0.03
"""So much longer the second in line leaves it to the first."""

AGAIN_SECONDS = 0.02
"""How soon it is looked again."""

SCHEDULES_AT_ONCE = 200
"""How many are done before it is looked again at what is left of the others."""

SCHEDULES_PER_READ = 1000
RECORDED_PER_READ = 1000
"""Of one partition."""


class Overdue:
    """What other keepers should have done by now, in the partitions that this process leads or stands in for."""

    def __init__(self, parts: SchedulerParts, decider: Decider) -> None:
        self._parts = parts
        self._decider = decider
        self._turns: Mapping[int, int] = {}
        self._moments: list[float] = []
        """A heap of when to look for ticks that nobody decides about, by the monotonic clock."""
        self._again_at = math.inf
        """When to look again for ticks that are recorded."""
        self._looked_at = -math.inf

    @property
    def next_at(self) -> float:
        """When to look next, by the monotonic clock; infinite without anything to look for."""
        first = self._moments[0] if self._moments else math.inf
        return max(min(first, self._again_at), self._looked_at + AGAIN_SECONDS)

    def expect(self, coming: Iterable[Coming], turns: Mapping[int, int]) -> None:
        """All schedules that are near, and whose turn it is in each partition."""
        self._turns = turns
        self._moments = list({self._moment(each) for each in coming})
        heapify(self._moments)

    def expect_also(self, coming: Coming) -> None:
        heappush(self._moments, self._moment(coming))

    async def look(self, now: float) -> tuple[dict[str, float], list[Recorded]]:
        """What is overdue: some schedules, with when they were due by the monotonic clock, and recorded ticks."""
        self._looked_at, self._again_at = now, math.inf
        while self._moments and self._moments[0] <= now:
            heappop(self._moments)
        numbers, offset = sorted(self._turns, key=self._turns.__getitem__), self._decider.offset
        # Of its own partitions, too, where others may have stood in.
        recorded = await self._left(numbers, now - offset)
        until = {number: now - offset - self._patience(number) for number in numbers if self._turns[number]}
        # Those first whose turn it is first, and from the other end than the leader.
        due = (await aside(self._parts.reader.due, dict(reversed(until.items())), SCHEDULES_PER_READ))[::-1]
        if len(due) > SCHEDULES_AT_ONCE:
            heappush(self._moments, now)
        return {schedule_id: at + offset for schedule_id, at in due[:SCHEDULES_AT_ONCE]}, recorded

    async def _left(self, numbers: Sequence[int], now: float) -> list[Recorded]:
        """Recorded ticks that nobody else will begin, by all that can be known."""
        everything, since = dict.fromkeys(numbers, math.inf), now - LEFT_SECONDS
        recorded = await aside(self._parts.reader.recorded, everything, RECORDED_PER_READ, since)
        others = [(each, at) for each, at in recorded if not self._decider.has_taken_up(each)]
        if not others:
            return []
        signs = await aside(self._parts.signs.read, now)
        signs.pop(self._parts.leadership.holder, None)
        begin_at = [
            max(at + self._patience(self._number(each.schedule_id)), quiet_at(at, signs.values()))
            for each, at in others
        ]
        self._again_at = min((at for at in begin_at if at > now), default=math.inf) + self._decider.offset
        return [each for (each, _), at in zip(others, begin_at, strict=True) if at <= now]

    def _moment(self, coming: Coming) -> float:
        return coming.at + self._patience(self._number(coming.schedule_id))

    def _patience(self, number: int) -> float:
        return PATIENCE_SECONDS + max(0, self._turns[number] - 1) * TURN_SECONDS

    def _number(self, schedule_id: str) -> int:
        return self._parts.keys.partition_of(schedule_id).number


def quiet_at(recorded_at: float, signs: Iterable[float]) -> float:
    """When the first of the keepers is quiet that can have recorded a tick then; ``signs`` are the last ones of all."""
    able = (sign for sign in signs if sign >= recorded_at - QUIET_SECONDS)
    return min(able, default=-math.inf) + QUIET_SECONDS
