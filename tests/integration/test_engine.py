"""The engine from end to end on real RabbitMQ and Redis, with real workers."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from taskmesh import (
    NodeState,
    ResultTimeoutError,
    RunCancelledError,
    RunConflictError,
    RunFailedError,
    RunNotFoundError,
    RunState,
    load_flow,
)
from tests.integration import engine_app as app
from tests.integration.mesh_bench import MeshBench

PATIENCE_SECONDS = 60.0


def test_a_flow_goes_in_and_its_result_comes_out(bench: MeshBench) -> None:
    bench.worker()
    run = bench.mesh.submit(app.diamond, start=21, tags={"tenant": "acme"})
    assert run.result(timeout=PATIENCE_SECONDS) == 42
    details = run.details()
    assert details.status is RunState.SUCCEEDED
    assert details.tags == {"tenant": "acme"}
    assert [node.name for node in details.nodes] == ["echo", "left", "right", "add"]
    assert all(node.attempts == 1 for node in details.nodes)
    ends = {node.name: node.finished_at or 0.0 for node in details.nodes}
    for node in details.nodes:
        assert all((node.started_at or 0.0) >= ends[parent] for parent in node.needs)


def test_many_runs_each_node_once(bench: MeshBench) -> None:
    bench.worker()
    bench.worker("--io-processes", "2")
    runs = bench.mesh.submit_many(app.fan, [{} for _ in range(30)])
    assert [run.result(timeout=PATIENCE_SECONDS) for run in runs] == [sum(range(100))] * 30
    times = bench.times_run()
    assert len(times) == 30 * 101
    assert set(times.values()) == {1}


def test_one_task_sent_alone(bench: MeshBench) -> None:
    bench.worker()
    engine_run = bench.mesh.submit(app.echo, value={"list": [1, "two", None, b"three"]})
    assert engine_run.result(timeout=PATIENCE_SECONDS) == {"list": [1, "two", None, b"three"]}
    assert bench.mesh.submit(app.anap, seconds=0.01).result(timeout=PATIENCE_SECONDS) == 0.01


def test_async_callers_are_served(bench: MeshBench) -> None:
    bench.worker()

    async def use() -> list[int]:
        runs = await asyncio.gather(*(bench.mesh.asubmit(app.diamond, start=number) for number in range(5)))
        return list(await asyncio.gather(*(run.aresult(timeout=PATIENCE_SECONDS) for run in runs)))

    assert asyncio.run(use()) == [0, 2, 4, 6, 8]


def test_async_callers_can_watch_and_cancel(bench: MeshBench) -> None:
    bench.worker()

    async def use() -> tuple[list[str], bool, RunState]:
        run = await bench.mesh.asubmit(app.slow_chain, seconds=0.01)
        states = [event.state async for event in run.awatch()]
        return states, await run.acancel(), (await run.adetails()).status

    states, cancelled, status = asyncio.run(use())
    assert states[-1] == status == RunState.SUCCEEDED
    assert cancelled is False


def test_threads_share_a_mesh(bench: MeshBench) -> None:
    bench.worker()
    with ThreadPoolExecutor(8) as threads:
        results = threads.map(
            lambda n: bench.mesh.submit(app.echo, value=n).result(timeout=PATIENCE_SECONDS), range(64)
        )
        assert list(results) == list(range(64))


def test_a_forked_child_uses_connections_of_its_own(bench: MeshBench) -> None:
    bench.worker()
    assert bench.mesh.submit(app.echo, value=1).result(timeout=PATIENCE_SECONDS) == 1
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if bench.mesh.submit(app.echo, value=2).result(timeout=PATIENCE_SECONDS) == 2 else 1
        finally:
            os._exit(status)
    assert [bench.mesh.submit(app.echo, value=n).result(timeout=PATIENCE_SECONDS) for n in range(20)] == list(range(20))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_same_id_is_the_same_run(bench: MeshBench) -> None:
    bench.worker()
    runs = [bench.mesh.submit(app.diamond, id="order-1", start=1) for _ in range(5)]
    assert {run.result(timeout=PATIENCE_SECONDS) for run in runs} == {2}
    assert bench.mesh.submit(app.diamond, id="order-1", start=1).result(timeout=5) == 2
    assert set(bench.times_run().values()) == {1}
    with pytest.raises(RunConflictError, match="order-1"):
        bench.mesh.submit(app.diamond, id="order-1", start=2)


def test_concurrent_submits_of_one_id_make_one_run(bench: MeshBench) -> None:
    bench.worker()
    barrier = threading.Barrier(16)

    def submit(_: int) -> int:
        barrier.wait()
        return int(bench.mesh.submit(app.diamond, id="same", start=3).result(timeout=PATIENCE_SECONDS))

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(submit, range(16))) == [6] * 16
    assert set(bench.times_run().values()) == {1}


def test_failure_is_told_with_its_reason(bench: MeshBench) -> None:
    bench.worker()
    run = bench.mesh.submit(app.half_broken)
    with pytest.raises(RunFailedError, match="'fail': ValueError: on purpose"):
        run.result(timeout=PATIENCE_SECONDS)
    states = {node.name: node.status for node in run.details().nodes}
    assert states == {"fail": NodeState.FAILED, "never": NodeState.UPSTREAM_FAILED, "other": NodeState.SUCCEEDED}
    [failed] = [node for node in run.details().nodes if node.name == "fail"]
    assert failed.error is not None
    assert "engine_app.py" in failed.error["traceback"]


def test_cancel_lets_nothing_new_start(bench: MeshBench) -> None:
    bench.worker()
    run = bench.mesh.submit(app.slow_chain, seconds=0.2)
    events = run.watch()
    assert next(event for event in events if event.state == NodeState.RUNNING)
    assert run.cancel() is True
    with pytest.raises(RunCancelledError):
        run.result(timeout=PATIENCE_SECONDS)
    assert run.cancel() is False
    assert len(bench.effects("nap")) < 10


def test_watching_sees_each_transition_in_order(bench: MeshBench) -> None:
    bench.worker()
    run = bench.mesh.submit(app.slow_chain, seconds=0.01)
    events = list(run.watch())
    assert events[-1].kind == "run"
    assert events[-1].state == RunState.SUCCEEDED
    ended = [event.node for event in events if event.state == NodeState.SUCCEEDED and event.node]
    assert ended == [node.name for node in run.details().nodes]


def test_unknown_runs_and_impatience_are_errors_of_their_own(bench: MeshBench) -> None:
    with pytest.raises(RunNotFoundError, match="nobody"):
        bench.mesh.run("nobody").status()
    run = bench.mesh.submit(app.echo, value=1)
    with pytest.raises(ResultTimeoutError):
        run.result(timeout=0.05)


YAML = """
flow: from-a-file
params: {{start: integer}}
shard_by: {shard_by}
nodes:
  first: {{task: "tests.integration.engine_app:echo", args: {{value: "${{params.start}}"}}}}
  total: {{task: "tests.integration.engine_app:add", args: {{items: ["${{nodes.first.output}}", 1]}}}}
"""


@pytest.mark.parametrize("shard_by", ["run", "node", "params.start"])
def test_a_yaml_flow_runs_on_the_same_engine(bench: MeshBench, shard_by: str) -> None:
    bench.worker()
    flow = load_flow(YAML.format(shard_by=shard_by), "from-a-file.yaml")
    runs = [bench.mesh.submit(flow, start=number) for number in range(20)]
    assert [run.result(timeout=PATIENCE_SECONDS) for run in runs] == list(range(1, 21))


def test_a_task_that_no_worker_knows_fails_its_run_after_a_while(bench: MeshBench) -> None:
    bench.worker(env={"TASKMESH_WORKER__UNKNOWN_TASK_SECONDS": "1.5"})
    flow = load_flow("flow: lost\nnodes: {only: {task: 'nowhere:nothing'}}", "lost.yaml")
    with pytest.raises(RunFailedError, match=r"'nowhere:nothing' is not registered in this worker; .* -A"):
        bench.mesh.submit(flow, id="lost").result(timeout=PATIENCE_SECONDS)
    details = bench.mesh.run("lost").details()
    assert details.finished_at is not None
    assert details.finished_at - details.submitted_at >= 1.5
    [node] = details.nodes
    assert node.attempts == 1


def test_a_worker_that_does_not_know_a_task_leaves_it_to_one_that_does(bench: MeshBench) -> None:
    old = bench.worker(app="workers.orders")
    runs = bench.mesh.submit_many(app.echo, [{"value": number} for number in range(20)])
    old.process.wait_for(lambda: old.metric('nodes_total{outcome="handed_on"') >= 20, "handing on")
    bench.worker()
    assert [run.result(timeout=PATIENCE_SECONDS) for run in runs] == list(range(20))
    assert set(bench.times_run("echo").values()) == {1}
    assert [node.attempts for run in runs for node in run.details().nodes] == [1] * 20


def test_health_and_metrics_tell_the_truth(bench: MeshBench) -> None:
    worker = bench.worker()
    bench.mesh.submit(app.diamond, start=1).result(timeout=PATIENCE_SECONDS)
    assert worker.get("/livez")[0] == 200
    assert worker.get("/readyz")[0] == 200
    worker.process.wait_for(lambda: worker.metric("nodes_total") == 4, "figures of four nodes")
    assert worker.metric("claims_total") == 4
    assert worker.metric("executors ") == 2
    assert worker.metric("redis_batch_seconds_count") > 0


def test_sigterm_finishes_what_runs_and_hands_back_the_rest(bench: MeshBench) -> None:
    worker = bench.worker()
    runs = bench.mesh.submit_many(app.nap, [{"seconds": 0.3} for _ in range(20)])
    worker.process.wait_for(lambda: bool(bench.effects("nap")), "a first task")
    assert worker.process.terminate(timeout_seconds=20) == 0
    begun, ended = bench.times_run("nap"), bench.times_run("woke")
    assert begun == ended
    assert 0 < len(begun) < 20
    bench.worker()
    assert [run.wait(timeout=PATIENCE_SECONDS) for run in runs] == [RunState.SUCCEEDED] * 20
    assert set(bench.times_run("nap").values()) == {1}


def test_a_second_sigterm_stops_at_once(bench: MeshBench) -> None:
    worker = bench.worker()
    bench.mesh.submit(app.nap, seconds=60)
    worker.process.wait_for(lambda: bool(bench.effects("nap")), "a first task")
    worker.process.signal(signal.SIGTERM)
    worker.process.wait_for_line("draining")
    worker.process.signal(signal.SIGTERM)
    assert worker.process.wait(timeout_seconds=10) == 1


def test_everything_runs_on_a_redis_cluster(cluster_bench: MeshBench) -> None:
    bench = cluster_bench
    doomed = bench.worker()
    assert bench.mesh.submit(app.diamond, start=4).result(timeout=PATIENCE_SECONDS) == 8
    watched = list(bench.mesh.submit(app.slow_chain, seconds=0.01).watch())
    assert watched[-1].state == RunState.SUCCEEDED
    runs = bench.mesh.submit_many(app.fan, [{} for _ in range(20)])
    doomed.process.kill9()
    bench.worker()
    assert [run.result(timeout=PATIENCE_SECONDS) for run in runs] == [sum(range(100))] * 20
    assert len(bench.mesh.runs(status=RunState.SUCCEEDED)) == 22


def test_equal_parameters_are_the_same_body_in_any_order(bench: MeshBench) -> None:
    first = bench.mesh.submit(app.echo, id="ordered", value={"a": 1, "b": {"c": 2, "d": [3]}})
    second = bench.mesh.submit(app.echo, id="ordered", value={"b": {"d": [3], "c": 2}, "a": 1})
    assert first.id == second.id
    with pytest.raises(RunConflictError):
        bench.mesh.submit(app.echo, id="ordered", value={"a": 1, "b": {"c": 2, "d": [4]}})
