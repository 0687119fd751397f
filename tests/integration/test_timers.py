"""Timers ring when they are due, all of them, while many others wait."""

from __future__ import annotations

from scripts.benchmark.timers import measure_timers

WAITING, DUE, SECONDS = 3_000, 500, 3.0
MOST_LATE_MS = 1000.0
"""Far more than on a quiet machine, and less than a keeper that only looks once in a while would need."""


def test_timers_ring_in_time_and_the_waiting_ones_cost_nothing(redis_url: str, namespace: str) -> None:
    found = measure_timers(redis_url, namespace, WAITING, DUE, SECONDS)
    assert (found.waiting, found.due, found.rung) == (WAITING, DUE, DUE)
    assert found.p50_ms < MOST_LATE_MS / 2
    assert found.p99_ms < MOST_LATE_MS
    assert found.idle_commands_per_second < 100
