from __future__ import annotations

import pytest

from taskmesh.resilience.backoff import full_jitter, retry_call


@pytest.mark.parametrize(("failures", "highest"), [(0, 0.1), (1, 0.1), (2, 0.2), (5, 1.6), (8, 10.0), (10_000, 10.0)])
def test_a_delay_is_anywhere_below_a_limit_that_doubles_up_to_the_cap(failures: int, highest: float) -> None:
    delay = full_jitter(0.1, 10.0)
    delays = [delay(failures) for _ in range(500)]
    assert all(0 <= each <= highest for each in delays)
    assert max(delays) > 0.8 * highest
    assert min(delays) < 0.2 * highest


class Flaky:
    def __init__(self, failures: int, error: Exception) -> None:
        self.calls = 0
        self._failures = failures
        self._error = error

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error
        return "done"


def test_a_call_is_tried_until_it_succeeds() -> None:
    told: list[str] = []
    flaky = Flaky(3, ConnectionError("away"))
    result = retry_call(
        flaky,
        retry_on=ConnectionError,
        deadline_seconds=10,
        base_seconds=0.001,
        on_retry=lambda error, seconds: told.append(f"{error} {seconds <= 0.004}"),
    )
    assert (result, flaky.calls) == ("done", 4)
    assert told == ["away True"] * 3


def test_an_error_that_no_retry_mends_is_raised_at_once() -> None:
    flaky = Flaky(3, PermissionError("no"))
    with pytest.raises(PermissionError, match="no"):
        retry_call(flaky, retry_on=ConnectionError, deadline_seconds=10)
    assert flaky.calls == 1


def test_after_the_deadline_the_last_error_is_raised() -> None:
    flaky = Flaky(1_000_000, ConnectionError("away"))
    with pytest.raises(ConnectionError, match="away"):
        retry_call(flaky, retry_on=ConnectionError, deadline_seconds=0.1, base_seconds=0.01, cap_seconds=0.02)
    assert flaky.calls > 2
