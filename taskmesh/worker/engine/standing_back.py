"""A worker that meets nodes whose tasks it does not know stands back: whoever else consumes the shards goes first.

Without that it would get most of them again: an idle worker gets all of the shards that it prefers, and one that knows
the task may prefer none. While others are busy, one that stands back works as ever.
"""

from __future__ import annotations

from taskmesh.broker.protocol import Consumer
from taskmesh.clock import Clock
from taskmesh.worker.engine.handing_on import LONGEST_SECONDS

STANDING_SECONDS = 2 * LONGEST_SECONDS
"""After the last node that was handed on: by then it would have come again if nobody else had taken it."""


class StandingBack:
    """Stands back from the first node that is handed on until none has been for a while. One thread."""

    def __init__(self, consumer: Consumer, clock: Clock) -> None:
        self._consumer = consumer
        self._clock = clock
        self._until: float | None = None

    def begin(self) -> None:
        """A node is handed on."""
        if self._until is None:
            self._consumer.stand_back(True)
        self._until = self._clock.monotonic() + STANDING_SECONDS

    def look(self) -> None:
        """Take what is preferred again when the time is over."""
        if self._until is not None and self._clock.monotonic() >= self._until:
            self._until = None
            self._consumer.stand_back(False)
