"""Any one of three RabbitMQ nodes dies or hangs in the middle of runs: nothing is lost, and work goes on at once."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from taskmesh import NodeState, RunState
from taskmesh.broker.protocol import shard_queue_name
from tests.harness.rabbitmq_cluster import NODES, RabbitCluster
from tests.harness.redis import RedisServer
from tests.integration import engine_app as app
from tests.integration.conftest import MakeBench
from tests.integration.mesh_bench import MeshBench

PATIENCE_SECONDS = 90.0
RUNS = 20
BATCH = 300

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def spread_bench(
    rabbitmq_cluster: RabbitCluster, redis_server: RedisServer, make_bench: MakeBench
) -> Iterator[MeshBench]:
    """Two workers that know all nodes, on queues that would survive the kill of any node."""
    bench = make_bench(rabbitmq_cluster.url, redis_server.url)
    # A node that hangs is found out by missing heartbeats.
    env = {"TASKMESH_BROKER__HEARTBEAT_SECONDS": "6", "TASKMESH_BROKER__CONNECT_TIMEOUT_SECONDS": "2"}
    bench.worker(env=env), bench.worker(env=env)
    rabbitmq_cluster.settle()
    yield bench
    rabbitmq_cluster.mend()


def _batch_seconds(bench: MeshBench) -> float:
    """How long a batch of runs takes from the first submit to the last end."""
    begun = time.monotonic()
    runs = bench.mesh.submit_many(app.echo, [{"value": number} for number in range(BATCH)])
    assert [run.result(timeout=PATIENCE_SECONDS) for run in runs] == list(range(BATCH))
    return time.monotonic() - begun


def _begin_work(bench: MeshBench) -> list[str]:
    runs = bench.mesh.submit_many(app.slow_chain, [{"seconds": 0.05} for _ in range(RUNS)])
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(bench.effects("woke")) < RUNS:
        assert time.monotonic() < deadline, "the workers did nothing"
        time.sleep(0.02)
    return [run.id for run in runs]


def _assert_ended(bench: MeshBench, run_ids: list[str]) -> None:
    for run_id in run_ids:
        run = bench.mesh.run(run_id)
        assert run.wait(timeout=PATIENCE_SECONDS) is RunState.SUCCEEDED
        assert all(node.status is NodeState.SUCCEEDED for node in run.details().nodes)


def _shard(bench: MeshBench, shard: int) -> str:
    return shard_queue_name(bench.environ["TASKMESH_NAMESPACE"], "default", shard)


def _assert_work_goes_on(bench: MeshBench, run_ids: list[str], before_seconds: float, what: str) -> None:
    """With the node still away."""
    begun = time.monotonic()
    _assert_ended(bench, run_ids)
    recovered_seconds = time.monotonic() - begun
    after_seconds = _batch_seconds(bench)
    twice = sum(times - 1 for times in bench.times_run("woke").values())
    print(
        f"{what}: {len(run_ids)} runs ended {recovered_seconds:.1f} s after; {BATCH} runs took "
        f"{before_seconds:.2f} s before and {after_seconds:.2f} s after; {twice} nodes ran twice"
    )
    # A machine that does much else takes seconds for what takes a third of one; a road that is broken takes for ever.
    assert after_seconds < max(5 * before_seconds, 15.0)


@pytest.mark.parametrize("place", range(NODES))
def test_kill_9_of_a_node(spread_bench: MeshBench, rabbitmq_cluster: RabbitCluster, place: int) -> None:
    before_seconds = _batch_seconds(spread_bench)
    run_ids = _begin_work(spread_bench)
    rabbitmq_cluster.nodes[place].kill9()
    _assert_work_goes_on(spread_bench, run_ids, before_seconds, f"node {place} killed")


def test_kill_9_of_the_leader_of_a_shard(spread_bench: MeshBench, rabbitmq_cluster: RabbitCluster) -> None:
    assert rabbitmq_cluster.members_of(_shard(spread_bench, 0)) == NODES
    before_seconds = _batch_seconds(spread_bench)
    leader = rabbitmq_cluster.leader_of(_shard(spread_bench, 0))
    run_ids = _begin_work(spread_bench)
    leader.kill9()
    _assert_work_goes_on(spread_bench, run_ids, before_seconds, "leader of a shard killed")


def test_a_node_that_hangs(spread_bench: MeshBench, rabbitmq_cluster: RabbitCluster) -> None:
    before_seconds = _batch_seconds(spread_bench)
    leader = rabbitmq_cluster.leader_of(_shard(spread_bench, 0))
    run_ids = _begin_work(spread_bench)
    rabbitmq_cluster.freeze(leader)
    _assert_work_goes_on(spread_bench, run_ids, before_seconds, "leader of a shard frozen")


def test_one_node_after_the_other_is_restarted(spread_bench: MeshBench, rabbitmq_cluster: RabbitCluster) -> None:
    run_ids = _begin_work(spread_bench)
    for node in rabbitmq_cluster.nodes:
        node.restart()
        rabbitmq_cluster.await_whole()
        run_ids += _begin_work(spread_bench)
    _assert_ended(spread_bench, run_ids)
