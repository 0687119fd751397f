"""How far ahead an executor is fed, and how works are spread over executors."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

MAX_LOOKAHEAD = 32
"""Works that wait inside an executor for the one before them; enough to hide the way to it and back."""

LOOKAHEAD_SECONDS = 0.01
"""How much work may wait there: what waits behind a task that turns out long has to be recalled."""

SHORT_SECONDS = 0.005
LONG_SAMPLE_SECONDS = 0.1
_WEIGHT = 0.1


class Pace:
    """Follows how long the recent tasks ran, and says how many may be sent ahead."""

    def __init__(self) -> None:
        self._mean_seconds: float | None = None

    def observe(self, duration_seconds: float) -> None:
        # One very long task says no more than a long one: the next hundred short ones should not pay for it.
        sample = min(duration_seconds, LONG_SAMPLE_SECONDS)
        if self._mean_seconds is None:
            self._mean_seconds = sample
        else:
            self._mean_seconds += _WEIGHT * (sample - self._mean_seconds)

    @property
    def lookahead(self) -> int:
        if self._mean_seconds is None or self._mean_seconds >= SHORT_SECONDS:
            return 0
        return min(MAX_LOOKAHEAD, int(LOOKAHEAD_SECONDS / max(self._mean_seconds, 1e-6)))


def share_out(count: int, held: Sequence[int], windows: Sequence[int]) -> list[int]:
    """How many of ``count`` works each executor gets: always to the one that holds least and has room."""
    shares = [0] * len(held)
    candidates = [(load, place) for place, load in enumerate(held) if load < windows[place]]
    heapq.heapify(candidates)
    while count and candidates:
        load, place = candidates[0]
        shares[place] += 1
        count -= 1
        if load + 1 < windows[place]:
            heapq.heapreplace(candidates, (load + 1, place))
        else:
            heapq.heappop(candidates)
    return shares
