"""Fails fast while something that this process needs is away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from taskmesh.errors import UnavailableError


class LocalBreaker:
    """Lets calls through until ``failures`` in a row have failed; then one at a time, after ``reset_seconds``.

    Safe in threads: a slow call holds up no other.
    """

    def __init__(
        self,
        name: str,
        failures: int,
        reset_seconds: float,
        counts: tuple[type[Exception], ...],
        error: type[UnavailableError],
    ) -> None:
        # Not at the top: pybreaker loads redis where it is installed, and most programs never get here.
        from pybreaker import CircuitBreaker, CircuitBreakerError

        self.name = name
        self._counts = counts
        self._error = error
        self._refused = CircuitBreakerError
        self._probe = threading.Lock()
        self._breaker = CircuitBreaker(
            failures, reset_seconds, exclude=[self._is_no_failure], name=name, throw_new_error_on_trip=False
        )

    @property
    def is_open(self) -> bool:
        """Whether calls are refused, or would be tried one at a time."""
        return self._breaker.current_state != "closed"

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Guard a call; its own errors pass.

        :raises UnavailableError: (or the class that the breaker was made with) it is open; nothing was called.
        """
        alone = self.is_open
        if alone and not self._probe.acquire(blocking=False):
            raise self._refusal()
        try:
            # The context manager, not ``call``: that one holds a lock around the guarded code.
            with self._breaker.calling():
                yield
        except self._refused:
            raise self._refusal() from None
        finally:
            if alone:
                self._probe.release()

    def _is_no_failure(self, error: BaseException) -> bool:
        return not isinstance(error, self._counts)

    def _refusal(self) -> UnavailableError:
        breaker = self._breaker
        return self._error(
            f"{self.name} has failed {breaker.fail_max} times in a row and is not tried again "
            f"for up to {breaker.reset_timeout:g} s"
        )


def local_breaker(
    name: str,
    failures: int,
    reset_seconds: float,
    *,
    counts: tuple[type[Exception], ...] = (UnavailableError,),
    error: type[UnavailableError] = UnavailableError,
) -> LocalBreaker:
    """A breaker of this process: ``with breaker.calling(): ...``.

    :param name: what it guards, as the message of a refusal calls it.
    :param failures: how many in a row open it.
    :param reset_seconds: how long it stays open before one call may try.
    :param counts: the errors that count as failures; any other means that the other side answered.
    :param error: what a refusal raises.
    """
    return LocalBreaker(name, failures, reset_seconds, counts, error)
