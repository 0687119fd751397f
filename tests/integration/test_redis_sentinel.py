"""The primary of Redis dies or hangs in the middle of runs; Sentinel promotes the replica, and all runs end."""

from __future__ import annotations

import time

import pytest

from tests.harness.redis_sentinels import RedisSentinels, role_of
from tests.integration.conftest import MakeBench
from tests.integration.failover import Outcome, outcome_of, submitting

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

BEFORE, AFTER = 30, 20


def _tell(what: str, outcome: Outcome, seconds: float) -> None:
    print(f"{what}: {outcome}; {seconds:.1f} s from the fault to the next accepted runs")


def test_kill_9_of_the_primary(rabbitmq_url: str, redis_sentinels: RedisSentinels, make_bench: MakeBench) -> None:
    bench = make_bench(rabbitmq_url, redis_sentinels.url)
    bench.worker(), bench.worker()
    with submitting(bench) as submitter:
        submitter.await_more(BEFORE)
        safe = list(submitter.accepted)
        redis_sentinels.await_replicated()
        old, begun = redis_sentinels.primary, time.monotonic()
        old.kill9()
        redis_sentinels.await_promotion(old)
        submitter.await_more(AFTER)
        recovered_seconds = time.monotonic() - begun
    outcome = outcome_of(bench, submitter.accepted)
    _tell("primary killed", outcome, recovered_seconds)
    # What the replica had is there; what was answered in the last moment may be lost, and is told so.
    assert not set(safe) & set(outcome.lost)


def test_a_primary_that_hangs_and_comes_back(
    rabbitmq_url: str, redis_sentinels: RedisSentinels, make_bench: MakeBench
) -> None:
    bench = make_bench(rabbitmq_url, redis_sentinels.url)
    bench.worker(), bench.worker()
    with submitting(bench) as submitter:
        submitter.await_more(BEFORE)
        safe = list(submitter.accepted)
        redis_sentinels.await_replicated()
        old, begun = redis_sentinels.primary, time.monotonic()
        redis_sentinels.freeze(old)
        new = redis_sentinels.await_promotion(old)
        submitter.await_more(AFTER)
        recovered_seconds = time.monotonic() - begun
        redis_sentinels.thaw(old)
        new.process.wait_for(lambda: role_of(old) == "slave", "demotion of the old primary", 60.0)
        submitter.await_more(AFTER)
    outcome = outcome_of(bench, submitter.accepted)
    _tell("primary frozen", outcome, recovered_seconds)
    assert not set(safe) & set(outcome.lost)
