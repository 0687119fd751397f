from __future__ import annotations

import threading

import pytest

from taskmesh.errors import BrokerUnavailableError, UnavailableError
from taskmesh.resilience.breaker import LocalBreaker, local_breaker

LONG = 3600.0


def fail(breaker: LocalBreaker, error: BaseException) -> None:
    with pytest.raises(type(error)), breaker.calling():
        raise error


def open_breaker(reset_seconds: float) -> LocalBreaker:
    breaker = local_breaker("the broker", 2, reset_seconds, error=BrokerUnavailableError)
    for _ in range(2):
        fail(breaker, UnavailableError("away"))
    return breaker


def test_it_opens_after_so_many_failures_and_refuses_without_calling() -> None:
    breaker = open_breaker(LONG)
    assert breaker.is_open
    called = False
    with pytest.raises(BrokerUnavailableError, match="the broker has failed 2 times in a row"), breaker.calling():
        called = True
    assert not called


def test_the_failure_that_opens_it_is_raised_as_it_was() -> None:
    breaker = local_breaker("the broker", 1, LONG)
    with pytest.raises(UnavailableError, match="away"), breaker.calling():
        raise UnavailableError("away")
    assert breaker.is_open


def test_a_success_in_between_starts_the_count_again() -> None:
    breaker = local_breaker("the broker", 2, LONG)
    fail(breaker, UnavailableError("away"))
    with breaker.calling():
        pass
    fail(breaker, UnavailableError("away"))
    assert not breaker.is_open


@pytest.mark.parametrize("error", [ValueError("the caller's"), KeyboardInterrupt(), SystemExit()])
def test_errors_that_are_no_failures_of_the_other_side_do_not_count(error: BaseException) -> None:
    breaker = local_breaker("the broker", 1, LONG)
    fail(breaker, error)
    assert not breaker.is_open


def test_after_its_time_one_call_may_try_and_closes_it() -> None:
    breaker = open_breaker(reset_seconds=0)
    with breaker.calling():
        pass
    assert not breaker.is_open


def test_a_try_that_fails_opens_it_again() -> None:
    breaker = open_breaker(reset_seconds=0)
    fail(breaker, UnavailableError("still away"))
    assert breaker.is_open


def test_only_one_call_tries_at_a_time() -> None:
    breaker = open_breaker(reset_seconds=0)
    with breaker.calling():
        fail(breaker, BrokerUnavailableError())
    assert not breaker.is_open


def test_calls_in_threads_do_not_wait_for_each_other() -> None:
    breaker = local_breaker("the broker", 2, LONG)
    both = threading.Barrier(2, timeout=10)

    def call() -> None:
        with breaker.calling():
            both.wait()

    other = threading.Thread(target=call)
    other.start()
    call()
    other.join()
    assert not breaker.is_open
