"""Cron lines with five fields, or six: seconds first.

A line that names its minutes and hours means times of the wall clock: where clocks jump over one it is due when the
jump ends, and where they show one twice it is due the first time only. A line whose minutes or hours begin with ``*``
means a pace: it is due whenever the clocks show a time that matches, so never within a jump, and both times where they
show it twice. These are the rules of Debian's cron, kept for lines with seconds, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from cronsim import CronSim, CronSimError

from taskmesh.errors import UsageError
from taskmesh.timetable.zones import LAST_MOMENT, first_showing, next_change, offset_at, second_of, wall_at, zone_of

MAX_LENGTH = 200

_FORM = "a cron line has 5 fields (minute hour day month weekday) or 6 (second first), such as '0 3 * * *'"


class Cron:
    """What is due at the times that a cron line names."""

    def __init__(self, line: str, zone: str) -> None:
        """:raises UsageError: it is no cron line, or there is no such zone."""
        self.line = line
        self.zone = zone_of(zone)
        fields = line.split()
        if len(line) > MAX_LENGTH or len(fields) not in (5, 6):
            raise UsageError(f"{line[:MAX_LENGTH]!r} is no cron line; {_FORM}")
        try:
            CronSim(line, datetime(2000, 1, 1))
        except CronSimError as error:
            raise UsageError(f"{line!r} is no cron line: {str(error).lower()}; {_FORM}") from None
        minute, hour = fields[-5:-3]
        self._is_pace = minute.startswith("*") or hour.startswith("*")
        self._last: tuple[int, int | None] | None = None

    def after(self, moment: int) -> int | None:
        """The first moment after another at which something is due; None where nothing is, for 50 years."""
        # Asked ahead of time, so that the answer is there when it is due.
        if self._last is None or self._last[0] != moment:
            self._last = moment, self._found_after(moment)
        return self._last[1]

    def _found_after(self, moment: int) -> int | None:
        second = max(-1, moment // 1000)
        if second * 1000 >= LAST_MOMENT:
            return None
        found = self._next_of_pace(second) if self._is_pace else self._next_of_wall_clock(second)
        return None if found is None or found * 1000 >= LAST_MOMENT else found * 1000

    def _next_of_pace(self, second: int) -> int | None:
        """Goes through the stretches of time in which no clock is changed."""
        offset = offset_at(self.zone, second)
        wall = wall_at(second, offset)
        while (match := next(self._matches(wall), None)) is not None:
            candidate = second_of(match, offset)
            change = next_change(self.zone, second, candidate)
            if change is None:
                return candidate
            second, offset = change, offset_at(self.zone, change)
            wall = wall_at(change - 1, offset)
        return None

    def _next_of_wall_clock(self, second: int) -> int | None:
        wall = wall_at(second, offset_at(self.zone, second))
        # Those that the clocks show for the second time now were due before.
        moments = (first_showing(self.zone, match) for match in self._matches(wall))
        return next((moment for moment in moments if moment > second), None)

    def _matches(self, wall: datetime) -> Iterator[datetime]:
        """The times of a clock that is never changed, after one."""
        return iter(CronSim(self.line, wall))
