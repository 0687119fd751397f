"""Taskiq: publisher confirms, results in Redis. It has no flows of its own: the client drives a chain."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Coroutine
from typing import Any

from taskiq_aio_pika import AioPikaBroker
from taskiq_redis import RedisAsyncResultBackend

from scripts.benchmark.systems.driver import Driver
from scripts.benchmark.systems.results import ResultCount

RESULTS_URL = os.environ["BENCH_RESULTS_URL"]
POLL_SECONDS = 0.0005
SENT_AT_ONCE = 200

broker = AioPikaBroker(os.environ["BENCH_BROKER_URL"], qos=100).with_result_backend(
    RedisAsyncResultBackend(RESULTS_URL)
)


async def noop(value: int = 0) -> int:
    return value


NOOP = broker.register_task(noop, task_name="noop")


async def call(value: int) -> float:
    begun = time.perf_counter()
    task = await NOOP.kiq(value)
    await task.wait_result(check_interval=POLL_SECONDS)
    return time.perf_counter() - begun


class TaskiqDriver(Driver):
    def __init__(self) -> None:
        self._results = ResultCount(RESULTS_URL)
        self._runner = asyncio.Runner()
        self._run(broker.startup())

    def wait(self) -> None:
        self._results.wait()

    def clear(self) -> None:
        self._results.clear()

    def single(self, count: int) -> None:
        self._results.expect(count)
        self._run(self._send(count))

    def chain(self, length: int) -> list[float]:
        return [sum(self.round_trip(length)) / length]

    def round_trip(self, count: int) -> list[float]:
        return [self._run(call(value)) for value in range(count)]

    async def _send(self, count: int) -> None:
        for first in range(0, count, SENT_AT_ONCE):
            await asyncio.gather(*(NOOP.kiq(value) for value in range(first, min(first + SENT_AT_ONCE, count))))

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(coroutine)


if __name__ == "__main__":
    TaskiqDriver().serve()
