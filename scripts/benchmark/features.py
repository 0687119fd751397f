"""What retries, time limits, timers and probes cost: the same flows with them and without, on the same servers.

Without: tasks that have no policy, and a worker that does not keep house. With: tasks that have a retry policy and
three time limits, and a worker that keeps house. Leases cannot be switched off; both have them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from rich.console import Console

from scripts.benchmark.own import taskmesh
from scripts.benchmark.servers import Servers
from scripts.benchmark.session import running
from scripts.benchmark.systems.spec import Spec
from scripts.benchmark.workloads import Kind, Workload, quick

PLAIN = Workload("flows_of_9", "flows of 8 nodes and a join", Kind.DRAIN, 2_000, nodes=9)
CAREFUL = replace(PLAIN, name="careful_flows_of_9")


@dataclass(frozen=True, slots=True)
class Cost:
    """Nodes a second, each round's, and by how much of the rate the features lower it (of the medians)."""

    without: list[float]
    with_features: list[float]
    cost: float


def measure_features(servers: Servers, logs: Path, rounds: int, is_quick: bool) -> Cost:
    """Measure both in every round, the one first that was second before."""
    whole = taskmesh(servers, 1, None, None)
    bare = replace(whole, name="without-keeper", env={**whole.env, "TASKMESH_WORKER__KEEPER": "false"})
    rates: dict[str, list[float]] = {PLAIN.name: [], CAREFUL.name: []}
    for number in range(rounds):
        pairs = [(bare, PLAIN), (whole, CAREFUL)]
        for spec, workload in pairs if number % 2 else reversed(pairs):
            rates[workload.name].append(_rate(spec, quick(workload) if is_quick else workload, logs))
    without, with_features = rates[PLAIN.name], rates[CAREFUL.name]
    return Cost(without, with_features, round(1 - median(with_features) / median(without), 3))


def _rate(spec: Spec, workload: Workload, logs: Path) -> float:
    with running(spec, logs) as session:
        session.warm_up(workload)
        rate = session.measure(workload).per_second
    assert rate is not None
    return round(rate, 1)


def show(found: Cost) -> None:
    console = Console()
    for name, rates in (("without", found.without), ("with", found.with_features)):
        rounds = ", ".join(f"{rate:,.0f}" for rate in rates)
        console.print(f"{name:>8}: {median(rates):,.0f} nodes/s (rounds: {rounds})")
    console.print(f"    cost: {found.cost:.1%}")
