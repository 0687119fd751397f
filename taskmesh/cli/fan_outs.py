"""How far the maps of a run are, while it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from taskmesh.clock import Clock
from taskmesh.errors import StoreUnavailableError

if TYPE_CHECKING:
    from taskmesh.client.counting import Counted

LOOK_SECONDS = 0.5
"""A picture is drawn more often than the store is asked."""


class FanOuts:
    """The counts of child runs, by what reads them. To be asked by one thread."""

    def __init__(self, ask: Callable[[Sequence[str]], dict[str, Counted]], clock: Clock) -> None:
        self._ask = ask
        self._clock = clock
        self._known: dict[str, Counted] = {}
        self._looked_at = 0.0

    def of(self, children: Sequence[str]) -> dict[str, Counted]:
        """What is known of these runs, at most so old; while the store does not answer, what was known before."""
        now = self._clock.monotonic()
        if children and now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            with suppress(StoreUnavailableError):
                self._known = self._ask(children)
        return self._known
