"""The raw limit: what RabbitMQ and pika give on this machine when nothing else is done with a message."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pika

from scripts.benchmark.children import PROJECT

EXCHANGE = "bench.raw"
DEAD_QUEUE = f"{EXCHANGE}.dead"
SHARDS = [f"{EXCHANGE}.{shard}" for shard in range(8)]
SHARD_ARGUMENTS = {
    "x-queue-type": "quorum",
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": DEAD_QUEUE,
}
WEIGHT = "1"


def measure_raw_limit(broker_url: str, io_processes: int, seconds: float) -> float:
    """Messages per second that are published, confirmed, consumed and acked, over all I/O processes together."""
    with _topology(broker_url), ExitStack() as ends:
        children = [_start(ends, broker_url, seconds) for _ in range(io_processes)]
        for child in children:
            _line(child)
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        return sum(float(json.loads(_line(child))["per_second"]) for child in children)


def _start(ends: ExitStack, broker_url: str, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "scripts.benchmark.raw_io", "--url", broker_url, "--exchange", EXCHANGE]
    child = subprocess.Popen(
        [*command, "--seconds", str(seconds), *SHARDS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=PROJECT,
        text=True,
    )
    ends.enter_context(child)
    ends.callback(child.kill)
    return child


def _line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline()


@contextmanager
def _topology(broker_url: str) -> Iterator[None]:
    connection = pika.BlockingConnection(pika.URLParameters(broker_url))
    channel = connection.channel()
    channel.exchange_declare(EXCHANGE, "x-consistent-hash", durable=True)
    channel.queue_declare(DEAD_QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    for shard in SHARDS:
        channel.queue_declare(shard, durable=True, arguments=SHARD_ARGUMENTS)
        channel.queue_bind(shard, EXCHANGE, WEIGHT)
    connection.close()
    try:
        yield
    finally:
        _delete(broker_url)


def _delete(broker_url: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(broker_url))
    channel = connection.channel()
    channel.exchange_delete(EXCHANGE)
    for queue in [*SHARDS, DEAD_QUEUE]:
        channel.queue_delete(queue)
    connection.close()
