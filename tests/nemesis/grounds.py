"""What an experiment is conducted on, how, and behind what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.harness.rabbitmq import RabbitServer
from tests.harness.redis import RedisServer
from tests.integration.mesh_bench import Worker
from tests.nemesis.proxy import FaultProxy


@dataclass(frozen=True, slots=True)
class Grounds:
    """The servers that experiments share, one after the other."""

    rabbitmq: RabbitServer
    redis: RedisServer


@dataclass(frozen=True, slots=True)
class Terms:
    """How an experiment is conducted. ``root`` is where the code of the workers is; the patience is wide, since
    machines differ, and what is measured is shown. A soak takes ``soak_minutes``."""

    seed: int
    root: Path = Path(__file__).parents[2]
    patience_seconds: float = 90.0
    soak_minutes: float = 3.0


@dataclass(frozen=True, slots=True)
class Behind:
    """Workers behind proxies."""

    workers: list[Worker]
    broker: FaultProxy
    store: FaultProxy

    @property
    def worker(self) -> Worker:
        return self.workers[0]

    @property
    def broker_url(self) -> str:
        return f"amqp://guest:guest@{self.broker.host}:{self.broker.port}/%2F"

    @property
    def store_url(self) -> str:
        return f"redis://{self.store.host}:{self.store.port}/0"
