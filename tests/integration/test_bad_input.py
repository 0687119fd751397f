"""What is wrong from outside is told in one sentence, ends in a visible place, and takes nothing else with it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping

import pika
import pika.exceptions
import pytest
import redis
from pika.adapters.blocking_connection import BlockingChannel

from taskmesh import DeadLetter, DeadLetterFilter, Mesh, RunState
from taskmesh.broker.protocol import dead_queue_name, exchange_name, shard_queue_name
from taskmesh.errors import TooLargeError, UsageError
from taskmesh.wire import pack
from taskmesh.wire.messages import MESSAGE_SCHEMA, NodeMessage, decode_message, encode_message
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
    _publish(bench, HOSTILE)
    assert bench.mesh.submit(app.echo, value=1).result(timeout=PATIENCE_SECONDS) == 1
    letters = _await_letters(bench.mesh, len(HOSTILE))
    by_body = {bench.mesh.dead_letters.get(letter.id).body: letter for letter in letters}
    assert set(by_body) == set(HOSTILE.values())
    assert "100000 bytes" in by_body[HOSTILE["too large"]].detail
    nobody = by_body[HOSTILE["a run that nobody knows"]]
    assert (nobody.reason, nobody.run_id, nobody.node) == ("unknown_run", "nobody", 0)
    assert (nobody.pool, nobody.routing_key) == ("default", "nobody")
    assert nobody.queue.startswith(exchange_name(bench.mesh.settings.namespace, "default"))
    assert bench.mesh.dead_letters.find(DeadLetterFilter(run_id="nobody")) == [nobody]
    assert by_body[HOSTILE["not msgpack"]].routing_key == "not msgpack"
    assert _messages(bench, dead_queue_name(bench.mesh.settings.namespace, "default")) == 0


def test_a_letter_is_edited_and_replayed_and_its_run_goes_on(bench: MeshBench) -> None:
    run = bench.mesh.submit(app.echo, value=1)
    [body] = _steal(bench)
    message = decode_message(body)
    assert isinstance(message, NodeMessage)
    bench.worker()
    _publish(bench, {"lost": encode_message(message._replace(run_id="lost", shard_key="lost"))})
    [letter] = _await_letters(bench.mesh, 1)
    bench.mesh.dead_letters.replay(letter.id, changes={"run_id": run.id})
    assert run.result(timeout=PATIENCE_SECONDS) == 1
    assert bench.mesh.dead_letters.find() == []


def test_letters_are_replayed_in_bulk_and_those_that_are_as_bad_come_back(bench: MeshBench) -> None:
    bench.worker()
    bodies = {f"run-{number}": b"bad %d" % number for number in range(40)}
    _publish(bench, bodies)
    before = {letter.id for letter in _await_letters(bench.mesh, 40)}
    box = bench.mesh.dead_letters
    begun = time.monotonic()
    assert list(box.replay_all(rate=200.0)) == [20, 40]
    assert time.monotonic() - begun >= 0.1
    after = _await_letters(bench.mesh, 40)
    assert before.isdisjoint(letter.id for letter in after)
    assert {box.get(letter.id).body for letter in after} == set(bodies.values())


def test_what_rabbitmq_gives_up_is_a_letter_too(bench: MeshBench) -> None:
    """The broker's own dead-lettering, as a policy of an administrator would make it happen."""
    bench.mesh.submit(app.echo, value=1)
    [body] = _steal(bench, requeue=False)
    bench.worker()
    [letter] = _await_letters(bench.mesh, 1)
    assert bench.mesh.dead_letters.get(letter.id).body == body
    assert (letter.reason, letter.worker, letter.run_id is not None) == ("rejected", "", True)
    [run] = bench.mesh.runs()
    assert bench.mesh.run(run.run_id).details().dead_letters == (letter.id,)


def test_letters_wait_in_the_broker_while_there_is_no_room(bench: MeshBench) -> None:
    bench.worker(env={"TASKMESH_LIMITS__MAX_DEAD_LETTERS": "10"})
    bodies = {f"run-{number}": b"bad %d" % number for number in range(25)}
    _publish(bench, bodies)
    first = _await_letters(bench.mesh, 10)
    dead = dead_queue_name(bench.mesh.settings.namespace, "default")
    _until(lambda: _messages(bench, dead) == 15)
    seen = {bench.mesh.dead_letters.get(letter.id).body for letter in first}
    while len(seen) < 25:
        assert bench.mesh.dead_letters.discard([letter.id for letter in bench.mesh.dead_letters.find()]) > 0
        _until(lambda: len(bench.mesh.dead_letters.find()) > 0)
        _until(lambda: len(bench.mesh.dead_letters.find()) == 10 or _messages(bench, dead) == 0)
        seen |= {bench.mesh.dead_letters.get(letter.id).body for letter in bench.mesh.dead_letters.find()}
    assert seen == set(bodies.values())


def _publish(bench: MeshBench, bodies: Mapping[str, bytes]) -> None:
    with _channel(bench) as channel:
        channel.confirm_delivery()
        exchange = exchange_name(bench.mesh.settings.namespace, "default")
        for key, body in bodies.items():
            channel.basic_publish(exchange, key, body)


def _steal(bench: MeshBench, requeue: bool | None = None) -> list[bytes]:
    """Take what waits in the shards: ``requeue`` None acks it, False refuses it."""
    shards = bench.mesh.settings.broker.shards
    queues = [shard_queue_name(bench.mesh.settings.namespace, "default", shard) for shard in range(shards)]
    found: list[bytes] = []
    with _channel(bench) as channel:

        def take() -> bool:
            for queue in queues:
                method, _, body = channel.basic_get(queue)
                if method is not None and requeue is None:
                    channel.basic_ack(method.delivery_tag)
                elif method is not None:
                    channel.basic_reject(method.delivery_tag, requeue=False)
                if body is not None:
                    found.append(body)
            return bool(found)

        _until(lambda: _is_declared(bench, queues[-1]))
        _until(take)
    return found


def _is_declared(bench: MeshBench, queue: str) -> bool:
    try:
        return _messages(bench, queue) >= 0
    except pika.exceptions.ChannelClosedByBroker:
        return False


def _messages(bench: MeshBench, queue: str) -> int:
    """Messages that nobody holds."""
    with _channel(bench) as channel:
        count: int = channel.queue_declare(queue, passive=True).method.message_count
        return count


@contextlib.contextmanager
def _channel(bench: MeshBench) -> Iterator[BlockingChannel]:
    connection = pika.BlockingConnection(pika.URLParameters(bench.environ["TASKMESH_BROKER_URL"]))
    try:
        yield connection.channel()
    finally:
        connection.close()


def _await_letters(mesh: Mesh, count: int) -> list[DeadLetter]:
    _until(lambda: len(mesh.dead_letters.find(limit=1000)) >= count)
    letters = mesh.dead_letters.find(limit=1000)
    assert len(letters) == count
    return letters


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


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
