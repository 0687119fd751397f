"""Circuit breakers as a person deals with them: look, open, close."""

from __future__ import annotations

from taskmesh.errors import BreakerNotFoundError, UsageError
from taskmesh.model.breakers import BreakerRules, BreakerState
from taskmesh.model.durations import MAX_SECONDS
from taskmesh.model.problems import Hints
from taskmesh.store.breakers import Breaker, Breakers


class BreakerBox:
    """The circuit breakers that workers have met."""

    def __init__(self, breakers: Breakers) -> None:
        self._breakers = breakers

    def ls(self) -> list[Breaker]:
        """All of them, in alphabetical order."""
        names = self._breakers.names()
        rows = zip(names, self._breakers.read(names), strict=True)
        return [breaker or _forgotten(name) for name, breaker in rows]

    def get(self, name: str) -> Breaker:
        """:raises BreakerNotFoundError: no worker has met it."""
        [breaker] = self._breakers.read([name])
        if breaker is None and name not in self._breakers.names():
            raise self._unknown(name)
        return breaker or _forgotten(name)

    def open(self, name: str, seconds: float | None = None) -> None:
        """Let no node of it run; one may try after ``seconds``, or after its own time where they are not given.

        :raises BreakerNotFoundError: no worker has met it. :raises UsageError: for seconds out of their range.
        """
        if seconds is not None and not 0 <= seconds <= MAX_SECONDS:
            raise UsageError(f"a breaker can be opened for 0 to {MAX_SECONDS:.0f} seconds, not {seconds!r}")
        self._set(name, BreakerState.OPEN, self.get(name).rules.reset_seconds if seconds is None else seconds)

    def reset(self, name: str) -> None:
        """Close it, and forget what it has counted. Nodes that wait come when their time is over.

        :raises BreakerNotFoundError: no worker has met it.
        """
        self._set(name, BreakerState.CLOSED, 0.0)

    def _set(self, name: str, state: BreakerState, seconds: float) -> None:
        if not self._breakers.set(name, state, seconds):
            raise self._unknown(name)

    def _unknown(self, name: str) -> BreakerNotFoundError:
        return BreakerNotFoundError(name, Hints(self._breakers.names()).did_you_mean(name))


def _forgotten(name: str) -> Breaker:
    """One whose state is lost: that means closed, and its rules come with the next node."""
    return Breaker(name, BreakerState.CLOSED, BreakerRules(name), 0, 0, 0, 0, 0.0, None)
