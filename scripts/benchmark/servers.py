"""The servers that everything is measured on, with their settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.harness.rabbitmq import RabbitServer
from tests.harness.redis import RedisServer

RABBIT_SETTINGS = {"vm_memory_high_watermark.absolute": "2GB"}


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the broker and the store of this benchmark are, and their processes."""

    broker_url: str
    redis_url: str
    pids: tuple[int, ...] = ()

    def database(self, number: int) -> str:
        """The URL of another database of the same Redis."""
        return f"{self.redis_url.rpartition('/')[0]}/{number}"


@contextmanager
def servers() -> Iterator[Servers]:
    """Start a RabbitMQ and a Redis of our own, on private ports, and end them."""
    with RabbitServer(overrides=RABBIT_SETTINGS) as rabbit, RedisServer() as redis:
        yield Servers(rabbit.url, redis.url, (rabbit.process.pid, redis.process.pid))
