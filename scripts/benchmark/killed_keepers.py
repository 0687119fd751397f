"""How late runs begin when keepers are killed while many schedules are due in the same second.

Keepers are processes of their own, on RabbitMQ and Redis, as ``taskmesh keeper`` starts them. A run has begun when the
message of its first node has come out of RabbitMQ; nobody takes it up.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from scripts.benchmark.children import Worker
from scripts.benchmark.figures import percentile_99
from scripts.benchmark.schedules import put_schedules
from scripts.benchmark.servers import Servers
from taskmesh.app.assembly import Foundation, lay_foundation
from taskmesh.broker.factory import open_consumer
from taskmesh.broker.protocol import Consumer, Delivery
from taskmesh.config.settings import BrokerSection, Settings, StoreSection
from taskmesh.errors import TaskmeshError
from taskmesh.store.link import Command, value_of
from taskmesh.store.schedules.reader import ScheduleReader
from taskmesh.wire.messages import NodeMessage, decode_message

POOL = "default"
KEEPERS = 3
KILL_AT = (0.1, 0.5)
"""Keepers are killed when this part of the runs has begun, one each."""

PREFETCH = 2_000
SETTLING_SECONDS = 6.0
"""From when all keepers are there until each leads its share."""
BEFORE_SECONDS = 4.0
PATIENCE_SECONDS = 20.0
AFTER_SECONDS = 3.0
"""How long more messages are waited for when all have come: copies count, too."""


@dataclass(frozen=True, slots=True)
class Round:
    """Of ``due`` ticks so many became exactly one run. ``copies`` are messages beyond the first of a run, which its
    token makes harmless; ``load`` is that of the machine over the last minute."""

    due: int
    killed: int
    one_run: int
    arrived: int
    copies: int
    p50_ms: float
    p99_ms: float
    worst_ms: float
    load: float


class Witness:
    """Notes when messages come out of the broker."""

    def __init__(self) -> None:
        self.consumer: Consumer | None = None
        self.first_at: dict[str, float] = {}
        self.messages = Counter[str]()

    def on_delivery(self, delivery: Delivery) -> None:
        now = time.time()
        told = decode_message(delivery.body)
        if isinstance(told, NodeMessage):
            self.first_at.setdefault(told.run_id, now)
            self.messages[told.run_id] += 1
        assert self.consumer is not None
        self.consumer.ack([delivery.token])


def measure_killed_keepers(servers: Servers, logs: Path, count: int, rounds: int, kills: int) -> list[Round]:
    """Let ``count`` schedules be due at the same moment, with so many of three keepers killed meanwhile."""
    found = []
    for number in range(rounds):
        namespace = f"killed-{number}-{kills}"
        with ExitStack() as ends:
            settings = Settings(
                namespace=namespace,
                broker=BrokerSection(url=servers.broker_url),
                store=StoreSection(url=servers.redis_url),
            )
            keepers = [_keeper(settings, logs / f"{namespace}-{each}.log") for each in range(KEEPERS)]
            for each in keepers:
                ends.callback(each.stop)
            foundation = lay_foundation(settings)
            ends.callback(foundation.close)
            found.append(asyncio.run(_measure(foundation, keepers, count, kills)))
        print(f"round {number + 1}, {kills} killed: {_shown(found[-1])}", file=sys.stderr, flush=True)
    return found


def _keeper(settings: Settings, log: Path) -> Worker:
    command = (sys.executable, "-m", "taskmesh", "keeper", "--health-port", "0")
    env = {
        "TASKMESH_NAMESPACE": settings.namespace,
        "TASKMESH_BROKER_URL": settings.broker.url or "",
        "TASKMESH_STORE_URL": settings.store.url or "",
    }
    return Worker(command, env, log)


async def _measure(foundation: Foundation, keepers: Sequence[Worker], count: int, kills: int) -> Round:
    witness = Witness()
    consumer = open_consumer(foundation.broker, (POOL,), "witness", _give_up, PREFETCH)
    witness.consumer = consumer
    await consumer.start(witness.on_delivery)
    await asyncio.sleep(SETTLING_SECONDS)
    tick = (int(foundation.housekeeping.time() + BEFORE_SECONDS + count / 1000) + 1) * 1000
    put_schedules(foundation.store, count, tick)
    load = os.getloadavg()[0]
    await _kill_in_turn(witness, keepers, [part * count for part in KILL_AT[:kills]], tick / 1000)
    await _await(witness, count, tick / 1000 + PATIENCE_SECONDS)
    await asyncio.sleep(AFTER_SECONDS)
    await consumer.close()
    late = [1000 * at - tick for at in witness.first_at.values()] or [float("nan")]
    copies = sum(witness.messages.values()) - len(witness.messages)
    figures = median(late), percentile_99(late), max(late)
    return Round(count, kills, _of_one_run(foundation, count), len(witness.first_at), copies, *figures, load)


def _give_up(error: TaskmeshError) -> None:
    raise error


async def _kill_in_turn(witness: Witness, keepers: Sequence[Worker], at: Sequence[float], tick: float) -> None:
    for keeper, begun in zip(keepers, at, strict=False):
        await _await(witness, begun, tick + PATIENCE_SECONDS)
        keeper.kill()


async def _await(witness: Witness, begun: float, until: float) -> None:
    while len(witness.first_at) < begun and time.time() < until:
        await asyncio.sleep(0.001)


def _of_one_run(foundation: Foundation, count: int) -> int:
    """How many schedules have one run, and nothing else became of their tick."""
    reader = ScheduleReader(foundation.link, foundation.keys)
    records = reader.records([f"schedule-{number}" for number in range(count)], 10)
    open_runs = [Command(each.open_runs, "ZCARD", each.open_runs) for each in foundation.keys.partitions]
    runs: int = sum(value_of(reply) for reply in foundation.link.exchange(open_runs))
    alone = sum(each is not None and each.counts["begun"] == 1 and not each.passed for each in records)
    return min(alone, runs) if runs <= count else count - runs


def _shown(found: Round) -> str:
    return (
        f"p50 {found.p50_ms:.0f} ms, p99 {found.p99_ms:.0f} ms, worst {found.worst_ms:.0f} ms, {found.one_run} of "
        f"{found.due} one run each, {found.copies} copies, load {found.load:.2f}"
    )


def show(rounds: Sequence[Round]) -> None:
    table = Table(*asdict(rounds[0]), title="Schedules, with keepers killed")
    for each in rounds:
        table.add_row(
            *(f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" for value in asdict(each).values())
        )
    Console().print(table)
