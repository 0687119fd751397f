"""What is wrong from outside is told in one sentence, ends in a visible place, and takes nothing else with it."""

from __future__ import annotations

import pika
import pytest
import redis

from taskmesh import Mesh, RunState
from taskmesh.broker.protocol import dead_queue_name, exchange_name
from taskmesh.errors import TooLargeError, UsageError
from taskmesh.wire import pack
from taskmesh.wire.messages import MESSAGE_SCHEMA, NodeMessage, encode_message
from tests.harness.ports import free_port
from tests.harness.processes import Processes
from tests.harness.rabbitmq import RabbitServer
from tests.integration import engine_app as app
from tests.integration.mesh_bench import APP, MeshBench

PATIENCE_SECONDS = 60.0

HOSTILE = {
    "not msgpack": b"\xc1hello",
    "not a message": pack({"a": 1}),
    "another schema": pack([MESSAGE_SCHEMA + 1, "node"]),
    "another kind": pack([MESSAGE_SCHEMA, "other"]),
    "fields missing": pack([MESSAGE_SCHEMA, "node", "run"]),
    "too large": b"x" * 100_000,
    "a run that nobody knows": encode_message(NodeMessage("nobody", 0, 0, 1, "0" * 32, "nobody")),
    "empty": b"",
}


def test_bad_messages_end_as_dead_letters_with_their_reason(bench: MeshBench) -> None:
    bench.worker()
    namespace = bench.environ["TASKMESH_NAMESPACE"]
    connection = pika.BlockingConnection(pika.URLParameters(bench.environ["TASKMESH_BROKER_URL"]))
    try:
        channel = connection.channel()
        channel.confirm_delivery()
        for key, body in HOSTILE.items():
            channel.basic_publish(exchange_name(namespace, "default"), key, body)
        assert bench.mesh.submit(app.echo, value=1).result(timeout=PATIENCE_SECONDS) == 1
        dead = dead_queue_name(namespace, "default")
        reasons = {}
        for _, properties, body in channel.consume(dead, inactivity_timeout=20, auto_ack=True):
            assert body is not None, f"only {len(reasons)} of {len(HOSTILE)} came"
            assert properties.headers is not None
            reasons[bytes(body)] = str(properties.headers["taskmesh-reason"])
            if len(reasons) == len(HOSTILE):
                break
    finally:
        connection.close()
    assert set(reasons) == set(HOSTILE.values())
    assert "100000 bytes" in reasons[HOSTILE["too large"]]
    assert "'nobody'" in reasons[HOSTILE["a run that nobody knows"]]
    letters = bench.mesh.dead_letters()
    assert {letter["reason"] for letter in letters} == set(reasons.values())


def test_what_is_too_large_is_refused_before_it_is_stored(bench: MeshBench) -> None:
    with pytest.raises(TooLargeError, match=r"limits\.max_value_bytes allows 1048576"):
        bench.mesh.submit(app.echo, id="big", value=b"x" * 2_000_000)
    with pytest.raises(UsageError, match="run id"):
        bench.mesh.submit(app.echo, id="with space", value=1)


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"TASKMESH_BROKER_URL": "http://127.0.0.1"}, "begins with one of amqp://"),
        ({"TASKMESH_STORE_URL": "mysql://127.0.0.1"}, "begins with one of redis://"),
        ({"TASKMESH_WORKER__THREADS": "many"}, "TASKMESH_WORKER__THREADS"),
        ({"TASKMESH_WORKER__TRHEADS": "1"}, "did you mean TASKMESH_WORKER__THREADS"),
    ],
)
def test_a_wrong_setting_is_one_sentence(bench: MeshBench, environ: dict[str, str], sentence: str) -> None:
    worker = bench.worker(ready=False, env=environ)
    assert worker.process.wait(timeout_seconds=30) == 2
    assert sentence in worker.process.output
    assert "Traceback" not in worker.process.output


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        ("nowhere.at_all", "module 'nowhere' .*does not exist"),
        ("tests.harness.ports", "has no Mesh"),
        (f"{APP}:nothing", "'nothing'.*does not exist"),
    ],
)
def test_a_wrong_app_is_one_sentence(bench: MeshBench, module: str, sentence: str) -> None:
    worker = bench.worker(app=module, ready=False)
    assert worker.process.wait(timeout_seconds=40) == 2
    worker.process.wait_for_line(sentence, timeout_seconds=1)
    assert "Traceback" not in worker.process.output


def test_wrong_credentials_are_one_sentence(bench: MeshBench) -> None:
    url = bench.environ["TASKMESH_BROKER_URL"].replace("guest:guest", "guest:s3cret")
    worker = bench.worker(ready=False, env={"TASKMESH_BROKER_URL": url})
    assert worker.process.wait(timeout_seconds=40) == 2
    assert "user" in worker.process.output
    assert "s3cret" not in worker.process.output
    assert "Traceback" not in worker.process.output


def test_a_redis_that_may_evict_is_refused(bench: MeshBench) -> None:
    client = redis.Redis.from_url(bench.environ["TASKMESH_STORE_URL"])
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        worker = bench.worker(ready=False)
        assert worker.process.wait(timeout_seconds=40) == 2
    finally:
        client.config_set("maxmemory-policy", "noeviction")
        client.close()
    assert "maxmemory-policy is allkeys-lru" in worker.process.output
    assert "Traceback" not in worker.process.output


def test_a_missing_plugin_is_named(redis_url: str, namespace: str, child_processes: Processes) -> None:
    port = free_port()
    with RabbitServer(plugins=False) as server:
        environ = {
            "TASKMESH_BROKER_URL": server.url,
            "TASKMESH_STORE_URL": redis_url,
            "TASKMESH_NAMESPACE": namespace,
        }
        words = ("worker", "-A", APP, "--health-port", str(port))
        worker = child_processes.python("taskmesh", *words, env=environ)
        assert worker.wait(timeout_seconds=40) == 2
    assert "rabbitmq-plugins enable rabbitmq_consistent_hash_exchange" in worker.output
    assert "Traceback" not in worker.output


def test_a_port_that_is_taken_is_one_sentence(bench: MeshBench) -> None:
    first = bench.worker()
    second = bench.worker("--health-port", str(first.port), ready=False)
    assert second.process.wait(timeout_seconds=30) == 2
    assert str(first.port) in second.process.output
    assert "Traceback" not in second.process.output


def test_a_store_that_is_away_is_told_by_name() -> None:
    mesh = Mesh(broker={"url": "amqp://127.0.0.1:1"}, store={"url": "redis://127.0.0.1:1"})
    with pytest.raises(Exception, match="Redis does not answer"):
        mesh.run("any").status()
    mesh.close()


def test_a_worker_that_finds_no_servers_waits_and_says_why(child_processes: Processes, namespace: str) -> None:
    port = free_port()
    environ = {
        "TASKMESH_BROKER_URL": "amqp://127.0.0.1:1",
        "TASKMESH_STORE_URL": "redis://127.0.0.1:1",
        "TASKMESH_NAMESPACE": namespace,
    }
    words = ("worker", "-A", APP, "--health-port", str(port))
    worker = child_processes.python("taskmesh", *words, env=environ)
    worker.wait_for_line("Redis does not answer")
    assert worker.terminate() == 0
    assert "Traceback" not in worker.output


def test_runs_of_one_namespace_are_not_seen_in_another(bench: MeshBench, namespace: str) -> None:
    run = bench.mesh.submit(app.echo, value=1)
    other = Mesh(
        namespace=f"{namespace}x",
        broker={"url": bench.environ["TASKMESH_BROKER_URL"]},
        store={"url": bench.environ["TASKMESH_STORE_URL"]},
    )
    assert other.runs() == []
    assert [row.run_id for row in bench.mesh.runs(status=RunState.RUNNING)] == [run.id]
    other.close()
