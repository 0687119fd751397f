"""Dramatiq: publisher confirms, results in Redis. Flows are groups with a completion callback."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import GroupCallbacks
from dramatiq.rate_limits.backends import RedisBackend as RateLimits
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from scripts.benchmark.systems.driver import Driver, timed
from scripts.benchmark.systems.results import ResultCount

RESULTS_URL = os.environ["BENCH_RESULTS_URL"]
TIMEOUT_MS = 60_000

broker = RabbitmqBroker(url=os.environ["BENCH_BROKER_URL"], confirm_delivery=True)
broker.add_middleware(Results(backend=RedisBackend(url=RESULTS_URL), store_results=True))
broker.add_middleware(GroupCallbacks(RateLimits(url=os.environ["BENCH_STATE_URL"])))
dramatiq.set_broker(broker)


def noop(value: int = 0) -> int:
    return value


def join() -> int:
    return 0


NOOP = dramatiq.actor(noop)
JOIN = dramatiq.actor(join)


class DramatiqDriver(Driver):
    def __init__(self) -> None:
        self._results = ResultCount(RESULTS_URL)

    def wait(self) -> None:
        self._results.wait()

    def clear(self) -> None:
        self._results.clear()

    def single(self, count: int) -> None:
        self._results.expect(count)
        for value in range(count):
            NOOP.send(value)

    def flows_of_9(self, count: int) -> None:
        self._results.expect(9 * count)
        for _ in range(count):
            self._group(8)

    def fan_in(self, width: int) -> None:
        self._results.expect(width + 1)
        self._group(width)

    def chain(self, length: int) -> list[float]:
        steps = dramatiq.pipeline([NOOP.message(0), *(NOOP.message() for _ in range(length - 1))])
        return [timed(lambda: steps.run().get_result(block=True, timeout=TIMEOUT_MS), length)]

    def round_trip(self, count: int) -> list[float]:
        return [timed(lambda: NOOP.send(0).get_result(block=True, timeout=TIMEOUT_MS)) for _ in range(count)]

    def _group(self, width: int) -> None:
        group = dramatiq.group([NOOP.message(value) for value in range(width)])
        group.add_completion_callback(JOIN.message())
        group.run()


if __name__ == "__main__":
    DramatiqDriver().serve()
