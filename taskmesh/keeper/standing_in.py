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

from taskmesh.keeper.deciding import Coming, SchedulerParts
from taskmesh.keeper.signs import QUIET_SECONDS
from taskmesh.store.aside import aside
from taskmesh.store.schedule_calls import Recorded

STAND_INS = 2
"""How many look after a partition beside its leader, so many keepers may die at once."""

PATIENCE_SECONDS = 0.08
"""So long after it was due, or recorded, a tick is left to the leader at least."""

TURN_SECONDS = 0.03
"""So much longer the second in line leaves it to the first."""

LEFT_SECONDS = 1.0
"""Longer than this nothing is left to anybody: no tick that is recorded, and none that waits for the end of a run."""

AGAIN_SECONDS = 0.02
"""How soon it is looked again."""

SCHEDULES_AT_ONCE = 200
"""How many are done before it is looked again at what is left of the others."""

SCHEDULES_PER_READ = 1000
RECORDED_PER_READ = 1000
"""Of one partition."""


class Overdue:
    """What those before this process in line should have done by now."""

    def __init__(self, parts: SchedulerParts) -> None:
        self._parts = parts
        self._moments: list[float] = []
        """A heap of when to look, by the monotonic clock."""
        self._looked_at = -math.inf
        self.turns: Mapping[int, int] = {}
        """The partitions to look after, by number, and which turn this process has in them."""

    @property
    def next_at(self) -> float:
        """When to look next, by the monotonic clock; infinite without anything to look for."""
        return max(self._moments[0], self._looked_at + AGAIN_SECONDS) if self._moments else math.inf

    def expect(self, coming: Iterable[Coming]) -> None:
        """Schedules that are due in these partitions, all of those that are near."""
        self._moments = list({each.at + self._patience(self._number(each.schedule_id)) for each in coming})
        heapify(self._moments)

    def expect_also(self, coming: Coming) -> None:
        heappush(self._moments, coming.at + self._patience(self._number(coming.schedule_id)))

    async def look(self, now: float, offset: float) -> tuple[dict[str, float], list[Recorded]]:
        """What is overdue: some schedules, with when they were due, and recorded ticks; those first whose turn is now.

        Times are of the monotonic clock, which is ``offset`` ahead of the store's.
        """
        self._looked_at = now
        while self._moments and self._moments[0] <= now:
            heappop(self._moments)
        numbers = sorted(self.turns, key=self.turns.__getitem__)
        until = {number: now - offset - self._patience(number) for number in numbers}
        recorded = await self._left(numbers, now - offset)
        # From the other end than the leader.
        due = (await aside(self._parts.reader.due, dict(reversed(until.items())), SCHEDULES_PER_READ))[::-1]
        if len(due) > SCHEDULES_AT_ONCE:
            heappush(self._moments, now)
        return {schedule_id: at + offset for schedule_id, at in due[:SCHEDULES_AT_ONCE]}, recorded

    async def _left(self, numbers: Sequence[int], now: float) -> list[Recorded]:
        """Recorded ticks that those who took them up will not begin any more, by all that can be known."""
        everything, since = dict.fromkeys(numbers, math.inf), now - LEFT_SECONDS
        recorded = await aside(self._parts.reader.recorded, everything, RECORDED_PER_READ, since)
        if not recorded:
            return []
        signs = await aside(self._parts.signs.read, now)
        quiet_at = min(signs.values(), default=-math.inf) + QUIET_SECONDS
        begin_at = [max(quiet_at, at + self._patience(self._number(each.schedule_id))) for each, at in recorded]
        later = [at for at in begin_at if at > now]
        if later:
            heappush(self._moments, min(later) + self._looked_at - now)
        return [each for (each, _), at in zip(recorded, begin_at, strict=True) if at <= now]

    def _patience(self, number: int) -> float:
        return PATIENCE_SECONDS + (self.turns[number] - 1) * TURN_SECONDS

    def _number(self, schedule_id: str) -> int:
        return self._parts.keys.partition_of(schedule_id).number
