"""How late timers ring while many others wait, and what the waiting ones cost. One keeper, one Redis, no broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from statistics import median

from rich.console import Console
from rich.table import Table

from scripts.benchmark.figures import percentile_99
from taskmesh.app.assembly import build_on
from taskmesh.app.keeping import open_batches
from taskmesh.broker.protocol import LinkState, Message
from taskmesh.broker.settings import BrokerSettings
from taskmesh.clock import SystemClock
from taskmesh.config.settings import Settings
from taskmesh.dispatch.advance import Advancer, Ending, Entrance
from taskmesh.dispatch.dispatcher import Dispatcher
from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.plans import Plans
from taskmesh.dispatch.waking import AlarmClock
from taskmesh.keeper.halts import Halts
from taskmesh.keeper.keeper import KeeperParts
from taskmesh.keeper.leadership import Leadership
from taskmesh.keeper.timers import Timers
from taskmesh.model.flow import Flow, Node
from taskmesh.observability.tally import Tally
from taskmesh.store.calls import Claim, NodeKey
from taskmesh.store.controls import Controls
from taskmesh.store.elections import Elections
from taskmesh.store.housekeeping import Housekeeping
from taskmesh.store.keys import Keys
from taskmesh.store.link import Command, Link, value_of
from taskmesh.store.opening import open_link
from taskmesh.store.reader import Reader
from taskmesh.store.store import Store
from taskmesh.wire import pack
from taskmesh.wire.messages import NodeMessage, decode_message

PARTITIONS = 16
LEASE_SECONDS = 3600.0
FAR_SECONDS = 100_000.0
NODES_PER_RUN = 500
IDLE_SECONDS = 5.0
BEFORE_SECONDS = 4.0
"""From when the timers of the measurement are set until the first is due."""
PATIENCE_SECONDS = 30.0
SPREAD = 0.618034
"""Its multiples fall evenly between whole numbers, in no order."""


@dataclass(frozen=True, slots=True)
class Lateness:
    """``idle_*`` is the share of one CPU, and the commands, while nothing is due. ``rung`` of ``due`` timers rang."""

    waiting: int
    due: int
    rung: int
    p50_ms: float
    p99_ms: float
    worst_ms: float
    idle_keeper_cpu: float
    idle_redis_cpu: float
    idle_commands_per_second: float


class Bell:
    """Notes when each node is published, in place of a broker."""

    state = LinkState.UP
    unconfirmed = 0

    def __init__(self) -> None:
        self.rung_at: dict[NodeKey, float] = {}

    async def start(self) -> None: ...

    def publish(self, messages: Sequence[Message], then: Callable[[], None] | None = None) -> None:
        now = time.time()
        for message in messages:
            told = decode_message(message.body)
            if isinstance(told, NodeMessage):
                self.rung_at.setdefault(NodeKey(told.run_id, told.node), now)

    async def drain(self, timeout_seconds: float) -> bool:
        return True

    async def close(self) -> None: ...


class TimerBench:
    """A store that holds many retrying nodes, and the keeper's timers above it. Made on a running loop."""

    def __init__(self, link: Link, namespace: str) -> None:
        self._link = link
        keys = Keys(namespace, PARTITIONS)
        self._store = Store(link, keys, LEASE_SECONDS)
        self._advancer = Advancer(self._store)
        self._housekeeping = Housekeeping(link, keys, LEASE_SECONDS)
        self._housekeeping.renew_holder("bench", LEASE_SECONDS)
        self.bell = Bell()
        self.plan = Plan.of(Flow("timers", "1", tuple(Node(f"n{at}", "t") for at in range(NODES_PER_RUN))))
        reader, clock = Reader(link, keys), SystemClock()
        leadership = self._leadership = Leadership(Elections(link, keys), "bench", LEASE_SECONDS)
        dispatcher, plans = Dispatcher(self.bell), Plans(reader.flow_body)
        alarm = AlarmClock(self._store, dispatcher, clock)
        foundation = build_on(link, clock, Settings(namespace=namespace), BrokerSettings("amqp://nowhere"), None)
        parts = KeeperParts(self._store, reader, self._housekeeping, plans, dispatcher, self.bell, Tally(), leadership)
        self.timers = Timers(
            self._housekeeping,
            reader,
            plans,
            leadership,
            Controls(self._store),
            alarm,
            Halts(parts, "bench", 0.0),
            open_batches(foundation, leadership, dispatcher, Tally(), "bench"),
            clock,
        )

    async def lead(self) -> None:
        """To be called before timers are read."""
        await self._leadership.renew(self._housekeeping.time())

    def set_timers(self, name: str, delays: Sequence[float]) -> None:
        """As many nodes wait for their next attempt, each for so many seconds from now."""
        for start in range(0, len(delays), NODES_PER_RUN):
            self._retry_run(f"{name}-{start}", delays[start : start + NODES_PER_RUN])

    def due(self, before: float) -> dict[NodeKey, float]:
        """The timers that are due before a time of the store's clock."""
        return dict(self._housekeeping.timers(before, 1_000_000))

    def now(self) -> float:
        return self._housekeeping.time()

    def redis_use(self) -> tuple[float, int]:
        """Seconds of CPU, and commands, that Redis has spent so far."""
        key = self._store.keys.pools
        replies = self._link.exchange([Command(key, "INFO", "cpu"), Command(key, "INFO", "stats")])
        lines = [line for reply in replies for line in value_of(reply).decode().split()]
        facts = dict(line.split(":", 1) for line in lines if ":" in line)
        cpu = float(facts["used_cpu_user"]) + float(facts["used_cpu_sys"])
        return cpu, int(facts["total_commands_processed"])

    def _retry_run(self, run_id: str, delays: Sequence[float]) -> None:
        self._advancer.admit([Entrance(self.plan, run_id, b"digest", pack(["timers", "1", {}, 0]), pack({}), run_id)])
        keys = [NodeKey(run_id, node) for node in range(len(delays))]
        answers = self._store.claim_nodes([Claim(key, 1, ()) for key in keys], "bench")
        self._advancer.settle(
            [
                Ending(self.plan, key, answer.token, run_id, "retrying", error=b"\xc0", delay_seconds=delay)
                for key, answer, delay in zip(keys, answers, delays, strict=True)
            ],
            "bench",
        )


def measure_timers(redis_url: str, namespace: str, waiting: int, due: int, seconds: float) -> Lateness:
    """Ring ``due`` timers, spread over ``seconds``, while ``waiting`` others wait for a day."""
    with closing(open_link(redis_url, 5.0, 60.0)) as link:
        return asyncio.run(_measure(link, namespace, waiting, due, seconds))


async def _measure(link: Link, namespace: str, waiting: int, due: int, seconds: float) -> Lateness:
    bench = TimerBench(link, namespace)
    await bench.lead()
    bench.set_timers("far", [FAR_SECONDS + at * SPREAD % 1.0 for at in range(waiting)])
    bench.timers.begin()
    idle = await _idle(bench)
    bench.timers.end()
    bench.set_timers("near", [BEFORE_SECONDS + seconds * (at * SPREAD % 1.0) for at in range(due)])
    rings_at = bench.due(bench.now() + FAR_SECONDS / 2)
    bench.timers.begin()
    await _until_rung(bench, len(rings_at), seconds)
    bench.timers.end()
    late = [1000 * (at - rings_at[key]) for key, at in bench.bell.rung_at.items()]
    return Lateness(waiting, len(rings_at), len(late), median(late), percentile_99(late), max(late), *idle)


async def _idle(bench: TimerBench) -> tuple[float, float, float]:
    await asyncio.sleep(1.0)
    own, (redis, commands), begun = time.process_time(), bench.redis_use(), time.monotonic()
    await asyncio.sleep(IDLE_SECONDS)
    elapsed = time.monotonic() - begun
    redis_after, commands_after = bench.redis_use()
    return (
        (time.process_time() - own) / elapsed,
        (redis_after - redis) / elapsed,
        (commands_after - commands) / elapsed,
    )


async def _until_rung(bench: TimerBench, count: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds + PATIENCE_SECONDS
    while len(bench.bell.rung_at) < count and time.monotonic() < deadline:
        await asyncio.sleep(0.05)


def show(found: Lateness) -> None:
    table = Table("figure", "value", title="Timers")
    for name, value in asdict(found).items():
        table.add_row(name, f"{value:,.3f}" if isinstance(value, float) else f"{value:,}")
    Console().print(table)
