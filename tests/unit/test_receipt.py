"""When a worker may say that it receives."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from taskmesh.clock import ManualClock
from taskmesh.errors import StoreUnavailableError
from taskmesh.observability.tally import Tally
from taskmesh.store.housekeeping import Housekeeping
from taskmesh.worker.engine.receipt import FRESH_SECONDS, Receipt

AHEAD_SECONDS = 5_000.0
"""The store's clock beside this machine's: ages must not depend on it."""


class Probes:
    """A store that knows probes, and may be away."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.sent: dict[str, dict[str, float]] = {}
        self.is_away = False

    def time(self) -> float:
        if self.is_away:
            raise StoreUnavailableError("Redis does not answer")
        return self._clock.now() + AHEAD_SECONDS

    def probes(self, pool: str) -> dict[str, float]:
        return self.sent.get(pool, {})

    def receive(self, pool: str, *shards: int) -> None:
        """Probes that are sent now come through."""
        queues = {f"shop.{pool}.{shard}": self.time() for shard in shards}
        self.sent[pool] = {**self.sent.get(pool, {}), **queues}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def probes(clock: ManualClock) -> Probes:
    return Probes(clock)


@pytest.fixture
def receipt(probes: Probes, clock: ManualClock) -> Receipt:
    return Receipt(cast(Housekeeping, probes), "shop", ("io", "cpu"), 2, clock)


def missing(receipt: Receipt) -> str:
    asyncio.run(receipt.look())
    return receipt.missing


def test_a_worker_that_never_saw_a_probe_is_not_ready(receipt: Receipt, probes: Probes) -> None:
    assert missing(receipt) == "no probe has come through shop.io.0 yet"
    probes.receive("io", 0, 1)
    probes.receive("cpu", 0)
    assert missing(receipt) == "no probe has come through shop.cpu.1 yet"


def test_every_shard_has_to_deliver_again_and_again(receipt: Receipt, probes: Probes, clock: ManualClock) -> None:
    for pool in ("io", "cpu"):
        probes.receive(pool, 0, 1)
    assert missing(receipt) == ""
    clock.advance(FRESH_SECONDS)
    probes.receive("io", 0)
    probes.receive("cpu", 0, 1)
    assert missing(receipt) == ""
    clock.advance(1)
    assert missing(receipt) == "no probe has come through shop.io.1 for 31 s"


def test_what_was_known_grows_older_while_the_store_is_away(
    receipt: Receipt, probes: Probes, clock: ManualClock
) -> None:
    for pool in ("io", "cpu"):
        probes.receive(pool, 0, 1)
    assert missing(receipt) == ""
    probes.is_away = True
    clock.advance(FRESH_SECONDS + 1)
    with pytest.raises(StoreUnavailableError):
        asyncio.run(receipt.look())
    assert receipt.missing == "no probe has come through shop.io.0 for 31 s"


def test_the_metric_is_the_age_of_the_slowest_shard(receipt: Receipt, probes: Probes, clock: ManualClock) -> None:
    tally = Tally()
    probes.receive("io", 0, 1)
    clock.advance(7)
    probes.receive("io", 0)
    asyncio.run(receipt.look())
    clock.advance(2)
    receipt.tell(tally)
    assert tally.take()["gauges"] == [["probe_age_seconds", ["io"], 9.0]]
