"""How late runs begin when many schedules are due in the same second. One keeper, one Redis, no broker."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from statistics import median

from rich.console import Console
from rich.table import Table

from scripts.benchmark.figures import percentile_99
from scripts.benchmark.timers import Bell
from taskmesh.app.assembly import build_on
from taskmesh.app.keeping import open_scheduler
from taskmesh.broker.settings import BrokerSettings
from taskmesh.clock import SystemClock
from taskmesh.config.settings import Settings
from taskmesh.dispatch.dispatcher import Dispatcher
from taskmesh.dispatch.plan import Plan
from taskmesh.keeper.leadership import Leadership
from taskmesh.model.flow import Flow, Node
from taskmesh.model.schedules.schedule import Schedule, When
from taskmesh.observability.tally import Tally
from taskmesh.store.elections import Elections
from taskmesh.store.link import Link
from taskmesh.store.opening import open_link
from taskmesh.store.schedules.calls import Put
from taskmesh.store.schedules.schedules import Schedules
from taskmesh.store.store import Store
from taskmesh.wire.schedules import Definition, digest_of, encode_definition

LEASE_SECONDS = 3600.0
BEFORE_SECONDS = 4.0
"""From when the schedules are put until they are due."""
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Punctuality:
    """Of ``due`` schedules so many runs ``began``; and how late their first nodes were published."""

    due: int
    began: int
    p50_ms: float
    p99_ms: float
    worst_ms: float


def measure_schedules(redis_url: str, namespace: str, count: int) -> Punctuality:
    """Let ``count`` schedules be due at the same moment."""
    with closing(open_link(redis_url, 5.0, 60.0)) as link:
        return asyncio.run(_measure(link, namespace, count))


async def _measure(link: Link, namespace: str, count: int) -> Punctuality:
    foundation = build_on(link, SystemClock(), Settings(namespace=namespace), BrokerSettings("amqp://nowhere"), None)
    housekeeping, bell = foundation.housekeeping, Bell()
    leadership = Leadership(Elections(link, foundation.keys), "bench", LEASE_SECONDS)
    await leadership.renew(housekeeping.time())
    scheduler = open_scheduler(foundation, leadership, Dispatcher(bell), Tally())
    tick = (int(housekeeping.time() + BEFORE_SECONDS + count / 1000) + 1) * 1000
    put_schedules(foundation.store, count, tick)
    scheduler.start()
    deadline = time.monotonic() + BEFORE_SECONDS + PATIENCE_SECONDS
    while len(bell.rung_at) < count and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    scheduler.stop()
    late = [1000 * at - tick for at in bell.rung_at.values()]
    return Punctuality(count, len(late), median(late), percentile_99(late), max(late))


def put_schedules(store: Store, count: int, tick: int) -> None:
    """Put ``count`` schedules that are due at ``tick``, in milliseconds."""
    schedules, plan = Schedules(store), Plan.of(Flow("scheduled", "1", (Node("only", "t"),)))
    for number in range(count):
        schedule = Schedule(f"schedule-{number}", When(cron="0 0 * * * *", zone="Europe/Paris"))
        body = encode_definition(Definition(schedule, plan.body))
        schedules.put_schedule(Put(schedule.id, "", None, digest_of(body), body, schedule.overlap, tick, tick))


def show(found: Punctuality) -> None:
    table = Table("figure", "value", title="Schedules")
    for name, value in asdict(found).items():
        table.add_row(name, f"{value:,.3f}" if isinstance(value, float) else f"{value:,}")
    Console().print(table)
