"""What a fault does to the throughput of a load that goes on evenly."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

BEFORE_SECONDS = 5
"""The throughput before a fault is the median of so many seconds."""

NEARLY = 0.95
STEP_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Dip:
    """``per_second`` before the fault; ``seconds`` after its end until a whole second had nearly as much again."""

    per_second: float
    seconds: float


def dip_around(ends: Sequence[float], died_at: float, back_at: float) -> Dip:
    """Measure one fault, from the times at which nodes ended. A second is counted when it is over."""
    ordered = sorted(ends)
    before = statistics.median(_count(ordered, died_at - each - 1, died_at - each) for each in range(BEFORE_SECONDS))
    last = ordered[-1] if ordered else back_at
    for step in range(math.ceil(max(0.0, last - back_at) / STEP_SECONDS)):
        until = back_at + (step + 1) * STEP_SECONDS
        if _count(ordered, until - 1.0, until) >= NEARLY * before:
            return Dip(before, until - back_at)
    return Dip(before, math.inf)


def _count(ordered: Sequence[float], since: float, until: float) -> int:
    return bisect_left(ordered, until) - bisect_left(ordered, since)
