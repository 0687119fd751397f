from __future__ import annotations

import pytest

from taskmesh.resilience.backoff import full_jitter


@pytest.mark.parametrize(("failures", "highest"), [(0, 0.1), (1, 0.1), (2, 0.2), (5, 1.6), (8, 10.0), (10_000, 10.0)])
def test_a_delay_is_anywhere_below_a_limit_that_doubles_up_to_the_cap(failures: int, highest: float) -> None:
    delay = full_jitter(0.1, 10.0)
    delays = [delay(failures) for _ in range(500)]
    assert all(0 <= each <= highest for each in delays)
    assert max(delays) > 0.8 * highest
    assert min(delays) < 0.2 * highest
