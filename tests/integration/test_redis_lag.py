"""A replica that lags takes over: the newest writes are lost, tokens are given out again, and nothing sticks."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from taskmesh import Run, RunLostError, RunState
from tests.harness.lagging_pair import LaggingPair, lagging_pair
from tests.harness.rabbitmq import RabbitServer
from tests.integration import engine_app as app
from tests.integration.conftest import MakeBench
from tests.integration.failover import PATIENCE_SECONDS, outcome_of
from tests.integration.mesh_bench import MeshBench

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

KEPT, LOST = 30, 200
GIVEN_OUT = 2
"""As many as a worker runs at once."""

SLOW_SECONDS = 8.0
"""How long a task takes that still runs when an older execution of it has ended."""


@pytest.fixture
def pair() -> Iterator[LaggingPair]:
    with lagging_pair() as pair:
        yield pair


def _await_stamps(bench: MeshBench, count: int, word: str = "stamp") -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(bench.effects(word)) < count:
        assert time.monotonic() < deadline, "the workers did nothing"
        time.sleep(0.02)


def test_what_a_lagging_replica_has_not_received_is_told_lost_and_the_rest_ends(
    rabbitmq_url: str, pair: LaggingPair, make_bench: MakeBench
) -> None:
    bench = make_bench(rabbitmq_url, pair.url)
    bench.worker(), bench.worker()
    kept = bench.mesh.submit_many(app.stamped, [{"seconds": 0.1}] * KEPT)
    _await_stamps(bench, 2 * KEPT)
    pair.await_replica()
    pair.replication.hold()
    lost = bench.mesh.submit_many(app.stamped, [{"seconds": 0.0}] * LOST)
    # Of the older runs too, ends are settled and acked that the replica never hears of.
    _await_stamps(bench, 5 * KEPT)
    begun = time.monotonic()
    pair.fail_over()
    with pytest.raises(RunLostError, match="submit it again under the same id"):
        _result(lost[-1])
    outcome = outcome_of(bench, [run.id for run in kept])
    seconds = time.monotonic() - begun
    told = outcome_of(bench, [run.id for run in lost])
    again = sum(times - 1 for (run, _), times in bench.times_run("stamp").items() if run in outcome.ended)
    print(f"a lagging replica took over: older: {outcome}, in {seconds:.1f} s, {again} nodes ran twice")
    print(f"submitted while it lagged: {told}")
    assert len(outcome.ended) == KEPT
    assert len(told.lost) >= LOST // 2
    assert bench.mesh.submit(app.stamped, id=lost[-1].id).wait(timeout=PATIENCE_SECONDS) is RunState.SUCCEEDED


def _result(run: Run) -> object:
    return run.result(timeout=PATIENCE_SECONDS)


def test_a_node_whose_token_is_given_out_again_is_recorded_for_its_new_holder(
    rabbitmq: RabbitServer, pair: LaggingPair, make_bench: MakeBench
) -> None:
    """The replica has not heard of claims; whoever made them stands still while another one makes them again."""
    bench = make_bench(rabbitmq.url, pair.url)
    runs = bench.mesh.submit_many(app.executor, [{"seconds": SLOW_SECONDS}] * GIVEN_OUT)
    pair.await_replica()
    pair.replication.hold()
    older = bench.worker(ready=False)
    _await_stamps(bench, GIVEN_OUT, "executor")
    [io_process] = older.children("taskmesh.app.io_process")
    os.kill(io_process, signal.SIGSTOP)
    try:
        pair.fail_over()
        # Its messages come again.
        rabbitmq.ctl("close_all_connections", "failover")
        newer = bench.worker(ready=False)
        _await_stamps(bench, 2 * GIVEN_OUT, "executor")
    finally:
        os.kill(io_process, signal.SIGCONT)
    older.process.wait_for(lambda: older.metric("stale_settlements_total") >= GIVEN_OUT, "refusal of older ends")
    recorded = {run.result(timeout=PATIENCE_SECONDS) for run in runs}
    assert recorded <= set(newer.children("taskmesh.worker.executors.main"))
