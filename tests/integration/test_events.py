"""Events of ended runs and nodes on real servers: none is lost, whatever is killed, and people can look at them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskmesh.broker.protocol import events_exchange_name
from taskmesh.flows import load_flow_file
from tests.contract.broker_peers import administer
from tests.harness.processes import Processes
from tests.harness.rabbitmq import RabbitServer
from tests.integration import engine_app as app
from tests.integration.mesh_bench import MeshBench, kill9
from tests.integration.shell import TASKMESH, Shell

PATIENCE_SECONDS = 90.0
RUNS = 30

FLOW = """
flow: loud.chain
events: nodes
params: {seconds: {type: number, default: 0.02}}
nodes:
  first: {task: "tests.integration.engine_app:nap", args: {seconds: "${params.seconds}"}}
  second: {task: "tests.integration.engine_app:nap", needs: [first], args: {seconds: "${params.seconds}"}}
"""


EMBEDDED_APP = """
from taskmesh import Mesh

mesh = Mesh()

@mesh.task
def work() -> int:
    return 1
"""


class Subscriber:
    """A durable queue of somebody who wants to hear of everything."""

    def __init__(self, url: str, namespace: str) -> None:
        self._url = url
        self._queue = f"{namespace}.somebody"
        self.events: list[dict[str, Any]] = []

        def bind(channel: Any) -> None:
            channel.exchange_declare(events_exchange_name(namespace), "topic", durable=True)
            channel.queue_declare(self._queue, durable=True, arguments={"x-queue-type": "quorum"})
            channel.queue_bind(self._queue, events_exchange_name(namespace), "#")

        administer(url, bind)

    def take(self) -> None:
        """Take what has come."""

        def get(channel: Any) -> None:
            while True:
                method, _, body = channel.basic_get(self._queue, auto_ack=True)
                if method is None:
                    return
                self.events.append(json.loads(body))

        administer(self._url, get)

    def told(self) -> set[tuple[str, str]]:
        return {(each["type"], each["subject"]) for each in self.events}

    def end(self) -> None:
        administer(self._url, lambda channel: channel.queue_delete(self._queue))


@pytest.fixture
def subscriber(rabbitmq_url: str, namespace: str) -> Iterator[Subscriber]:
    subscriber = Subscriber(rabbitmq_url, namespace)
    yield subscriber
    subscriber.end()


@pytest.fixture
def flow_file(tmp_path: Path) -> str:
    path = tmp_path / "loud.yaml"
    path.write_text(FLOW)
    return str(path)


def submit(bench: MeshBench, flow_file: str, count: int, seconds: float = 0.02) -> list[str]:
    flow = load_flow_file(flow_file, bench.mesh.registry)
    ids = [f"loud-{number}" for number in range(count)]
    bench.mesh.submit_many(flow, [{"seconds": seconds}] * count, ids=ids)
    return ids


def wanted(ids: list[str]) -> set[tuple[str, str]]:
    nodes = {("taskmesh.node.succeeded", f"{run_id}/{node}") for run_id in ids for node in ("first", "second")}
    return nodes | {("taskmesh.run.succeeded", run_id) for run_id in ids}


def await_events(subscriber: Subscriber, expected: set[tuple[str, str]]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not expected <= subscriber.told():
        assert time.monotonic() < deadline, f"never came: {sorted(expected - subscriber.told())[:10]}"
        time.sleep(0.1)
        subscriber.take()


def await_some(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def test_no_event_is_lost_while_workers_and_keepers_are_killed(
    bench: MeshBench, subscriber: Subscriber, flow_file: str
) -> None:
    worker, keeper = bench.worker(), bench.keeper()
    ids = submit(bench, flow_file, RUNS, seconds=0.1)
    await_some(lambda: len(bench.effects("woke")) > 5)
    for pid in worker.children("taskmesh.app.io_process"):
        kill9(pid)
    await_some(lambda: len(bench.effects("woke")) > RUNS)
    keeper.process.kill9()
    worker.process.kill9()
    bench.worker()
    await_events(subscriber, wanted(ids))
    assert subscriber.told() == wanted(ids)
    # What came again has the id that it had.
    assert len({each["id"] for each in subscriber.events}) == len(wanted(ids))


def test_events_of_runs_that_ended_without_a_keeper_wait_for_one(
    bench: MeshBench, subscriber: Subscriber, flow_file: str
) -> None:
    keeper, worker = bench.keeper(), bench.worker(env={"TASKMESH_WORKER__KEEPER": "false"})
    keeper.process.kill9()
    ids = submit(bench, flow_file, 3)
    for run_id in ids:
        bench.mesh.run(run_id).wait(timeout=PATIENCE_SECONDS)
    worker.process.kill9()
    subscriber.take()
    assert subscriber.told() == set()
    bench.keeper()
    await_events(subscriber, wanted(ids))


def test_events_wait_while_the_broker_is_away(
    frail_bench: MeshBench, rabbitmq: RabbitServer, namespace: str, flow_file: str
) -> None:
    subscriber = Subscriber(rabbitmq.url, namespace)
    frail_bench.worker()
    ids = submit(frail_bench, flow_file, 5, seconds=0.5)
    await_some(lambda: len(frail_bench.effects("woke")) >= 5)
    rabbitmq.kill9()
    # The second nodes have no messages, so their ends and those of the runs come when the broker is back.
    rabbitmq.start()
    await_events(subscriber, wanted(ids))
    subscriber.end()


def test_events_are_sent_from_a_redis_cluster(cluster_bench: MeshBench, subscriber: Subscriber, flow_file: str) -> None:
    """Where a script may touch no key of another slot than the run's."""
    cluster_bench.worker()
    await_events(subscriber, wanted(submit(cluster_bench, flow_file, 8)))


def test_people_look_at_events_as_they_come(bench: MeshBench, flow_file: str) -> None:
    bench.worker()
    tail = bench.command("events", "tail", "--type", "run", "--flow", "loud.chain", "--count", "2", "-o", "json")
    tail.wait_for_line("listening for events", PATIENCE_SECONDS)
    bench.mesh.submit(app.echo, value=1).wait(timeout=PATIENCE_SECONDS)
    submit(bench, flow_file, 2)
    assert tail.wait(PATIENCE_SECONDS) == 0
    lines = [json.loads(line) for line in tail.output.splitlines() if line.startswith("{")]
    assert {each["subject"] for each in lines} == {"loud-0", "loud-1"}
    assert {each["type"] for each in lines} == {"taskmesh.run.succeeded"}


def test_embedded_events_are_told_by_the_next_process_that_keeps_house(
    shell: Shell, child_processes: Processes, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(EMBEDDED_APP)
    (tmp_path / "loud.yaml").write_text('flow: loud\nevents: runs\nnodes:\n  work: {task: "app:work"}\n')
    listening = child_processes.start([*TASKMESH, "events", "tail", "--count", "1", "-o", "json"], cwd=tmp_path)
    listening.wait_for_line("listening for events", PATIENCE_SECONDS)
    shell("run", "loud.yaml", "-A", "app", "--id", "first")
    worker = child_processes.start([*TASKMESH, "worker", "-A", "app", "--health-port", "0"], cwd=tmp_path)
    assert listening.wait(PATIENCE_SECONDS) == 0
    [event] = [json.loads(line) for line in listening.output.splitlines() if line.startswith("{")]
    assert (event["type"], event["subject"]) == ("taskmesh.run.succeeded", "first")
    worker.terminate()


def test_an_unknown_type_is_refused_with_a_sentence(shell: Shell) -> None:
    assert "there is no type of event" in shell("events", "tail", "--type", "run.explodes", code=2)
