"""How events are gathered into batches, each of which begins one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from taskmesh.model.events.on_event import InboundEvent

MAX_OPEN_SECONDS = 86_400.0
"""No batch takes events for longer."""

DEFAULT_BATCH = 100
MAX_BATCH = 1000

DEBOUNCES_WAITED = 10
"""A batch that says no ``max_wait`` is open for so many times its ``debounce`` at most."""


@dataclass(frozen=True, slots=True)
class Batching:
    """Events that come together begin one run; those of each ``key`` by themselves, where there is one.

    A batch opens with its first event. It closes ``window_seconds`` after that; or when no event has come for
    ``debounce_seconds``, and ``max_wait_seconds`` after it opened at the latest. With ``max_batch`` events it closes at
    once. Of window and debounce there must be exactly one.
    """

    window_seconds: float | None = None
    debounce_seconds: float | None = None
    max_wait_seconds: float | None = None
    max_batch: int = DEFAULT_BATCH
    key: str = ""

    @property
    def stays_seconds(self) -> float:
        """Each event keeps the batch open for so long, up to ``longest_seconds``."""
        return self.window_seconds or self.debounce_seconds or 0.0

    @property
    def longest_seconds(self) -> float:
        if self.window_seconds is not None or self.debounce_seconds is None:
            return self.stays_seconds
        if self.max_wait_seconds is not None:
            return self.max_wait_seconds
        return min(DEBOUNCES_WAITED * self.debounce_seconds, MAX_OPEN_SECONDS)


class EventBatch(NamedTuple):
    """Events that have come together, in the order in which they came. ``opened_at`` in epoch seconds."""

    key: str
    opened_at: float
    events: Sequence[InboundEvent]
