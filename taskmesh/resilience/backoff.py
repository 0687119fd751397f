"""Waiting between attempts: exponential, with full jitter, so that many processes do not come back at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tenacity import (
    RetryCallState,
    Retrying,
    wait_chain,
    wait_fixed,
    wait_random,
    wait_random_exponential,
)
from tenacity.wait import wait_base


def full_jitter(base_seconds: float, cap_seconds: float) -> Callable[[int], float]:
    """How long to wait after the n-th failure (1 is the first): random, up to ``base * 2 ** (n - 1)`` or the cap."""
    return _computed(wait_random_exponential(multiplier=base_seconds, max=cap_seconds))


def fixed(seconds: float) -> Callable[[int], float]:
    """The same wait after every failure."""
    return _computed(wait_fixed(seconds))


def listed(delays_seconds: Sequence[float]) -> Callable[[int], float]:
    """One wait after another; the last one after every further failure."""
    return _computed(wait_chain(*map(wait_fixed, delays_seconds)))


def ramped(over_seconds: float) -> float:
    """A random wait of at most so long, later ones more likely: many together come back at a rate that grows evenly."""
    wait = _computed(wait_random(0, over_seconds))
    return max(wait(1), wait(1))


def _computed(wait: wait_base) -> Callable[[int], float]:
    """What a strategy of tenacity says, without its loop and without sleeping."""
    state = RetryCallState(Retrying(), None, (), {})

    def delay_seconds(failures: int) -> float:
        state.attempt_number = max(failures, 1)
        return wait(state)

    return delay_seconds
