"""Intervals and single moments, and how moments are read and written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from taskmesh.errors import UsageError
from taskmesh.timetable.zones import LAST_MOMENT

_FORM = "write a moment as 2026-03-29T02:30:00, with +01:00 or Z behind it where it is not meant in the zone"


class Timetable(Protocol):
    """The moments at which something is due."""

    def after(self, moment: int) -> int | None:
        """The first of them after another moment; None where there is none."""


class Every:
    """Due at every whole multiple of an interval since 1970, so the same for whoever reckons it."""

    def __init__(self, interval: int) -> None:
        self._interval = interval

    def after(self, moment: int) -> int | None:
        return (moment // self._interval + 1) * self._interval


class Once:
    """Due at one moment."""

    def __init__(self, moment: int) -> None:
        self._moment = moment

    def after(self, moment: int) -> int | None:
        return self._moment if moment < self._moment else None


def moment_of(moment: int, zone: ZoneInfo) -> datetime:
    """A moment as the clocks of a zone show it."""
    return datetime.fromtimestamp(moment // 1000, zone).replace(microsecond=moment % 1000 * 1000)


def iso_text(moment: int, zone: ZoneInfo) -> str:
    """A moment in ISO 8601 with the offset of a zone; milliseconds where there are any."""
    at = moment_of(moment, zone)
    return at.isoformat(timespec="milliseconds" if moment % 1000 else "seconds")


def read_moment(text: str, zone: ZoneInfo) -> int:
    """A moment as people write it; without an offset it is one of the zone, the first where clocks show it twice.

    :raises UsageError: it is none, or lies before 1970 or after the year 8999.
    """
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            at = at.replace(tzinfo=zone)
        moment = round(at.astimezone(UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise UsageError(f"{text[:80]!r} is no moment; {_FORM}") from None
    if not 0 <= moment < LAST_MOMENT:
        raise UsageError(f"{text[:80]!r} is out of range; use a moment from 1970 to the year 9000")
    return moment
