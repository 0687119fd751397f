"""A primary of a Redis Cluster dies, or a slot moves, in the middle of runs; the runs end all the same."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from taskmesh.store.keys import Keys
from tests.harness.redis_cluster import RedisCluster, slot_of
from tests.integration.conftest import MakeBench
from tests.integration.failover import outcome_of, submitting
from tests.integration.mesh_bench import MeshBench

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

BEFORE, AFTER = 30, 20


@pytest.fixture
def replicated() -> Iterator[RedisCluster]:
    with RedisCluster(replicas=True) as cluster:
        yield cluster


def _key_of_state(bench: MeshBench) -> str:
    """A key beside which some of the runs are."""
    return Keys(bench.environ["TASKMESH_NAMESPACE"], 16).partitions[0].open_runs


def test_kill_9_of_a_primary(rabbitmq_url: str, replicated: RedisCluster, make_bench: MakeBench) -> None:
    bench = make_bench(rabbitmq_url, replicated.url)
    bench.worker(), bench.worker()
    doomed = replicated.owner_of(_key_of_state(bench))
    with submitting(bench) as submitter:
        submitter.await_more(BEFORE)
        safe = list(submitter.accepted)
        doomed.await_replicated()
        begun = time.monotonic()
        doomed.kill9()
        replicated.await_promotion(replicated.replicas[replicated.nodes.index(doomed)])
        submitter.await_more(AFTER)
        recovered_seconds = time.monotonic() - begun
    outcome = outcome_of(bench, submitter.accepted)
    print(f"primary of a cluster killed: {outcome}; {recovered_seconds:.1f} s to the next accepted runs")
    # What the replica had is there; what was answered in the last moment may be lost, and is told so.
    assert not set(safe) & set(outcome.lost)


def test_a_slot_that_moves(rabbitmq_url: str, redis_cluster: RedisCluster, make_bench: MakeBench) -> None:
    bench = make_bench(rabbitmq_url, redis_cluster.url)
    bench.worker(), bench.worker()
    key = _key_of_state(bench)
    source = redis_cluster.owner_of(key)
    target = next(node for node in redis_cluster.nodes if node is not source)
    with submitting(bench) as submitter:
        submitter.await_more(BEFORE)
        moved = redis_cluster.move_slot(slot_of(key), source, target, step_seconds=0.5)
        submitter.await_more(AFTER)
        back = redis_cluster.move_slot(slot_of(key), target, source, step_seconds=0.0)
        submitter.await_more(AFTER)
    outcome = outcome_of(bench, submitter.accepted)
    print(f"slot moved with {moved} keys, and back with {back}: {outcome}")
    assert moved > 0
    assert outcome.lost == []
