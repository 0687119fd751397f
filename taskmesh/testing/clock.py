"""The clock of a virtual mesh."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from taskmesh.errors import UsageError
from taskmesh.testing.world import World


class VirtualClock:
    """What a mesh takes for the time. It stands still until somebody waits, or moves it."""

    def __init__(self, world: World, prepare: Callable[[], None]) -> None:
        self._world = world
        self._prepare = prepare

    def now(self) -> float:
        """Epoch seconds."""
        return self._world.now()

    def monotonic(self) -> float:
        """The same."""
        return self._world.now()

    def today(self) -> datetime:
        """The same as a datetime, in UTC."""
        return datetime.fromtimestamp(self.now(), UTC)

    def sleep(self, seconds: float) -> None:
        """``advance``."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move the time on by so many seconds; whatever is due on the way happens when it is due.

        :raises UsageError: for less than nothing: no clock goes back.
        """
        self.advance_to(self.now() + seconds)

    def advance_to(self, moment: float | datetime) -> None:
        """``advance`` to a moment, in epoch seconds or as a datetime with its zone."""
        until = seconds_of(moment) if isinstance(moment, datetime) else moment
        if until < self.now():
            raise UsageError(f"the time is {self.now():.6f} and cannot go back to {until:.6f}")
        self._prepare()
        self._world.wait(lambda: False, until)


def seconds_of(moment: datetime) -> float:
    """Epoch seconds.

    :raises UsageError: it has no zone, and would be another moment on each machine.
    """
    if moment.tzinfo is None:
        raise UsageError(f"{moment} has no zone; give it one, as datetime(2030, 1, 1, tzinfo=UTC)")
    return moment.timestamp()
