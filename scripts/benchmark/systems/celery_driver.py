"""Celery: late acks, publisher confirms, results in Redis. Flows are chords."""

from __future__ import annotations

import os

from celery import Celery, chain, chord

from scripts.benchmark.systems.driver import Driver, timed
from scripts.benchmark.systems.results import ResultCount

RESULTS_URL = os.environ["BENCH_RESULTS_URL"]
app = Celery("bench", broker=os.environ["BENCH_BROKER_URL"], backend=RESULTS_URL)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=16,
    broker_transport_options={"confirm_publish": True},
    broker_connection_retry_on_startup=True,
)


def noop(value: int = 0) -> int:
    return value


def join(items: list[int]) -> int:
    return len(items)


NOOP = app.task(noop, name="noop")
JOIN = app.task(join, name="join")


class CeleryDriver(Driver):
    def __init__(self) -> None:
        self._results = ResultCount(RESULTS_URL)

    def wait(self) -> None:
        self._results.wait()

    def clear(self) -> None:
        self._results.clear()

    def single(self, count: int) -> None:
        self._results.expect(count)
        for value in range(count):
            NOOP.delay(value)

    def flows_of_9(self, count: int) -> None:
        self._results.expect(9 * count)
        for _ in range(count):
            self._chord(8)

    def fan_in(self, width: int) -> None:
        self._results.expect(width + 1)
        self._chord(width)

    def chain(self, length: int) -> list[float]:
        steps = chain(*(NOOP.si(step) for step in range(length)))
        return [timed(lambda: steps.apply_async().get(), length)]

    def round_trip(self, count: int) -> list[float]:
        return [timed(lambda: NOOP.delay(0).get()) for _ in range(count)]

    def _chord(self, width: int) -> None:
        chord([NOOP.s(value) for value in range(width)])(JOIN.s())


if __name__ == "__main__":
    CeleryDriver().serve()
