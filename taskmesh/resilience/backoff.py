"""Waiting between attempts: exponential, with full jitter, so that many processes do not come back at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_before_delay,
    wait_random_exponential,
)

Result = TypeVar("Result")


def full_jitter(base_seconds: float, cap_seconds: float) -> Callable[[int], float]:
    """How long to wait after the n-th failure (1 is the first): random, up to ``base * 2 ** (n - 1)`` or the cap."""
    wait = wait_random_exponential(multiplier=base_seconds, max=cap_seconds)
    state = RetryCallState(Retrying(), None, (), {})

    def delay_seconds(failures: int) -> float:
        state.attempt_number = max(failures, 1)
        return wait(state)

    return delay_seconds


def retry_call(
    function: Callable[[], Result],
    *,
    retry_on: type[Exception] | tuple[type[Exception], ...],
    deadline_seconds: float,
    base_seconds: float = 0.05,
    cap_seconds: float = 2.0,
    on_retry: Callable[[BaseException, float], None] | None = None,
) -> Result:
    """Call ``function`` until it succeeds. Blocks; for starting up, never for a loop that serves others.

    :param retry_on: the errors that another attempt may mend.
    :param deadline_seconds: no attempt begins later than this; then the last error is raised.
    :param on_retry: told of each error, and of the seconds until the next attempt.
    """

    def tell(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if on_retry and error:
            on_retry(error, state.upcoming_sleep)

    retrying = Retrying(
        wait=wait_random_exponential(multiplier=base_seconds, max=cap_seconds),
        stop=stop_before_delay(deadline_seconds),
        retry=retry_if_exception_type(retry_on),
        before_sleep=tell,
        reraise=True,
    )
    return retrying(function)
