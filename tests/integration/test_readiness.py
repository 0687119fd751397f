"""A worker is ready when messages reach it, not when its connections are up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pika

from taskmesh.broker.amqp_topology import pool_queues
from taskmesh.broker.protocol import shard_queue_name
from taskmesh.broker.rendezvous import HIGHEST_PRIORITY
from taskmesh.broker.settings import BrokerSettings
from tests.integration.mesh_bench import MeshBench

SHARDS = 4


@contextmanager
def hoarder(url: str, namespace: str) -> Iterator[str]:
    """Somebody who takes all that comes to one shard, before any worker, and does nothing with it."""
    settings = BrokerSettings(url=url, namespace=namespace, shards=SHARDS)
    queue = shard_queue_name(namespace, "default", 2)
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True, arguments=pool_queues(settings, "default")[queue])
        channel.basic_consume(queue, lambda *_: None, arguments={"x-priority": HIGHEST_PRIORITY})
        yield queue
    finally:
        connection.close()


def test_a_worker_with_a_silent_shard_is_not_ready(bench: MeshBench, rabbitmq_url: str, namespace: str) -> None:
    with hoarder(rabbitmq_url, namespace) as queue:
        worker = bench.worker(ready=False)
        silent = f"I/O process 0: no probe has come through {queue} yet\n"
        worker.process.wait_for(lambda: worker.get("/readyz") == (503, silent), "word of the silent shard", 40)
        up = [line for line in worker.get("/metrics")[1].splitlines() if line.startswith("taskmesh_link_up{")]
        assert [line.rpartition(" ")[2] for line in up] == ["1.0", "1.0"]
        assert worker.get("/livez")[0] == 200
    worker.wait_ready()
    # A report a second: the age is as of the last one.
    worker.process.wait_for(lambda: "taskmesh_probe_age_seconds{" in worker.get("/metrics")[1], "age of a probe")
    assert worker.metric("probe_age_seconds") < 20
