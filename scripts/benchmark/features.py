"""What retries, time limits, timers and probes cost: the same flows with them and without, on the same servers.

Without: tasks that have no policy, and a worker that does not keep house. With: tasks that have a retry policy and
three time limits, and a worker that keeps house. Leases cannot be switched off; both have them.

Each round measures both, one right after the other, and gives one ratio; the cost is the median of the ratios. So what
else goes on on the machine changes it little, and the CPU time that a node takes in all processes even less.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import psutil
from rich.console import Console

from scripts.benchmark.own import taskmesh
from scripts.benchmark.servers import Servers
from scripts.benchmark.session import Session, running
from scripts.benchmark.systems.spec import Spec
from scripts.benchmark.workloads import Kind, Workload, quick

PLAIN = Workload("flows_of_9", "flows of 8 nodes and a join", Kind.DRAIN, 2_000, nodes=9)
CAREFUL = replace(PLAIN, name="careful_flows_of_9")
DRAINS = 3
"""How often the queue is filled and drained for one figure: a worker is as fast as it gets after the first."""


@dataclass(frozen=True, slots=True)
class Drained:
    """Nodes per second, and the microseconds of CPU that one takes in the worker, RabbitMQ and Redis together."""

    per_second: float
    cpu_us: float


@dataclass(frozen=True, slots=True)
class Cost:
    """The figures of each round, and by how much the features lower the rate and raise the use of CPU."""

    without: list[Drained]
    with_features: list[Drained]

    @property
    def of_rate(self) -> float:
        """The part of the rate that the features take."""
        pairs = zip(self.without, self.with_features, strict=True)
        return round(1 - median(careful.per_second / plain.per_second for plain, careful in pairs), 3)

    @property
    def of_cpu(self) -> float:
        """How much more CPU time a node takes."""
        pairs = zip(self.without, self.with_features, strict=True)
        return round(median(careful.cpu_us / plain.cpu_us for plain, careful in pairs) - 1, 3)


def measure_features(servers: Servers, logs: Path, rounds: int, is_quick: bool) -> Cost:
    """Measure both in every round, the one first that was second before."""
    whole = taskmesh(servers, 1, None, None)
    bare = replace(whole, name="without-keeper", env={**whole.env, "TASKMESH_WORKER__KEEPER": "false"})
    found: dict[str, list[Drained]] = {PLAIN.name: [], CAREFUL.name: []}
    for number in range(rounds):
        pairs = [(bare, PLAIN), (whole, CAREFUL)]
        for spec, workload in pairs if number % 2 else reversed(pairs):
            figure = drained(spec, quick(workload) if is_quick else workload, servers, logs)
            found[workload.name].append(figure)
            print(f"round {number + 1}, {workload.name}: {shown(figure)}", file=sys.stderr, flush=True)
    return Cost(found[PLAIN.name], found[CAREFUL.name])


def drained(spec: Spec, workload: Workload, servers: Servers, logs: Path, drains: int = DRAINS) -> Drained:
    """One figure of a worker of its own: the medians of so many drains."""
    with running(spec, logs) as session:
        session.warm_up(workload)
        found = [_drain(session, workload, servers) for _ in range(drains)]
    return Drained(
        round(median(drain.per_second for drain in found), 1), round(median(drain.cpu_us for drain in found), 1)
    )


def _drain(session: Session, workload: Workload, servers: Servers) -> Drained:
    processes = [process for worker in session.workers for process in worker.tree()]
    for pid in servers.pids:
        server = psutil.Process(pid)
        processes += [server, *server.children(recursive=True)]
    session.fill(workload)
    before = _cpu_seconds(processes)
    seconds = session.drain()
    used_seconds = _cpu_seconds(processes) - before
    session.clear()
    return Drained(workload.total / seconds, 1e6 * used_seconds / workload.total)


def _cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return float(sum(each.user + each.system for each in times))


def to_json(found: Cost) -> dict[str, object]:
    """The figures of each round, and the costs."""
    rounds = {name: [(each.per_second, each.cpu_us) for each in drained] for name, drained in _sides(found)}
    return {**rounds, "cost": found.of_rate, "cost_cpu": found.of_cpu}


def show(found: Cost) -> None:
    """The medians of both, and the costs."""
    console = Console()
    for name, drained in _sides(found):
        middle = Drained(median(each.per_second for each in drained), median(each.cpu_us for each in drained))
        console.print(f"{name:>8}: {shown(middle)}")
    console.print(f"    cost: {found.of_rate:.1%} of the rate, {found.of_cpu:.1%} more CPU")


def _sides(found: Cost) -> list[tuple[str, list[Drained]]]:
    return [("without", found.without), ("with", found.with_features)]


def shown(figure: Drained) -> str:
    """A figure in one line."""
    return f"{figure.per_second:,.0f} nodes/s, {figure.cpu_us:.0f} µs of CPU each"
