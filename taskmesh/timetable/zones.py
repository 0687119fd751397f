"""Time zones by their IANA names, and where their clocks are changed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from taskmesh.errors import UsageError

DAY_SECONDS = 86_400

LAST_MOMENT = 221_845_392_000_000
"""Nothing is due in the year 9000 or later, or before 1970: calendars of programs end soon after."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+/-]{0,63}")
_EPOCH = datetime(1970, 1, 1)


def zone_of(name: str) -> ZoneInfo:
    """The time zone with a name such as ``Europe/Paris``.

    :raises UsageError: there is none.
    """
    try:
        if _NAME.fullmatch(name):
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    raise UsageError(f"there is no time zone {name!r}; use a name of the IANA list, such as Europe/Paris or UTC")


def offset_at(zone: ZoneInfo, second: int) -> int:
    """By how many seconds the clocks of a zone are ahead of UTC at a moment."""
    offset = datetime.fromtimestamp(second, zone).utcoffset()
    return round((offset or timedelta()).total_seconds())


def next_change(zone: ZoneInfo, start: int, end: int) -> int | None:
    """The first second in (start, end] from which the clocks have another offset than at ``start``; None without one.

    No zone has changed its clocks twice within a day.
    """
    offset = offset_at(zone, start)
    low = start
    while low < end:
        high = min(low + DAY_SECONDS, end)
        if offset_at(zone, high) != offset:
            return _bisect(zone, offset, low, high)
        low = high
    return None


def _bisect(zone: ZoneInfo, offset: int, low: int, high: int) -> int:
    while high - low > 1:
        middle = (low + high) // 2
        if offset_at(zone, middle) == offset:
            low = middle
        else:
            high = middle
    return high


def wall_at(second: int, offset: int) -> datetime:
    """What clocks show at a moment, without their zone."""
    return _EPOCH + timedelta(seconds=second + offset)


def second_of(wall: datetime, offset: int) -> int:
    """The moment at which clocks with an offset show a time."""
    return round((wall - _EPOCH).total_seconds()) - offset


def first_showing(zone: ZoneInfo, wall: datetime) -> int:
    """The first moment at which the clocks of a zone show a time; where they jump over it, the end of the jump."""
    before = datetime.combine(wall.date(), wall.time(), tzinfo=zone)
    second = round(before.astimezone(UTC).timestamp())
    if wall_at(second, offset_at(zone, second)) == wall:
        return second
    # Fold 0 reckons with the offset before the jump, fold 1 with that after it: the jump lies between the two.
    earlier = round(before.replace(fold=1).astimezone(UTC).timestamp())
    return next_change(zone, earlier - 1, second) or second
