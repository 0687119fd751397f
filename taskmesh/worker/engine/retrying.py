"""Whether an attempt that failed is followed by another one, and when."""

from __future__ import annotations

from collections.abc import Callable

from taskmesh.model.policies import DEFAULT_RETRY, RetryPolicy, Wait
from taskmesh.resilience.backoff import fixed, full_jitter, listed
from taskmesh.worker.channels.protocol import Failure
from taskmesh.worker.engine.attempt import Attempt


def next_delay_seconds(attempt: Attempt, failure: Failure) -> float | None:
    """How long to wait before the next attempt; None where there is none.

    Only attempts that ended by failing count: those that were lost with an executor or a worker are no try of the task.
    """
    policy = attempt.node.retry
    if policy is None:
        if not failure.asks:
            return None
        policy = DEFAULT_RETRY
    tries = attempt.retries + 1
    if tries >= policy.max_attempts or not (failure.asks or policy.covers(failure.lineage)):
        return None
    return failure.after_seconds if failure.after_seconds is not None else wait_of(policy)(tries)


def wait_of(policy: RetryPolicy) -> Callable[[int], float]:
    """The wait after the n-th attempt that failed, 1 being the first."""
    if policy.wait is Wait.FIXED:
        return fixed(policy.base_seconds)
    if policy.wait is Wait.LIST:
        return listed(policy.delays_seconds)
    return full_jitter(policy.base_seconds, policy.max_seconds)
