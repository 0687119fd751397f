"""Waiting between attempts: exponential, with full jitter, so that many processes do not come back at once."""

from __future__ import annotations

from collections.abc import Callable

from tenacity import (
    RetryCallState,
    Retrying,
    wait_random_exponential,
)


def full_jitter(base_seconds: float, cap_seconds: float) -> Callable[[int], float]:
    """How long to wait after the n-th failure (1 is the first): random, up to ``base * 2 ** (n - 1)`` or the cap."""
    wait = wait_random_exponential(multiplier=base_seconds, max=cap_seconds)
    state = RetryCallState(Retrying(), None, (), {})

    def delay_seconds(failures: int) -> float:
        state.attempt_number = max(failures, 1)
        return wait(state)

    return delay_seconds
