"""What a map costs beside a fan-in of as many nodes: no-op items, in turn on the same servers.

A round measures both, one right after the other, and gives one ratio; the factor is the median of the ratios. So what
else goes on on the machine changes it little.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from rich.console import Console

from scripts.benchmark.features import Drained, drained, shown
from scripts.benchmark.own import taskmesh
from scripts.benchmark.servers import Servers
from scripts.benchmark.workloads import WORKLOADS, Workload

ITEMS = 100_000
AIM = 1.3
"""A map of so many no-op items takes at most so many times what a fan-in takes."""


@dataclass(frozen=True, slots=True)
class MapCost:
    """The figures of each round, and how many times as long a map takes."""

    items: int
    fan_in: list[Drained]
    mapped: list[Drained]

    @property
    def factor(self) -> float:
        pairs = zip(self.fan_in, self.mapped, strict=True)
        return round(median(wide.per_second / mapped.per_second for wide, mapped in pairs), 3)


def measure_maps(servers: Servers, logs: Path, rounds: int, items: int) -> MapCost:
    """Measure both in every round, the one first that was second before."""
    spec = taskmesh(servers, 1, None, None)
    fan_in, mapped = (replace(_named(name), size=items) for name in ("fan_in", "map"))
    found: dict[str, list[Drained]] = {fan_in.name: [], mapped.name: []}
    for number in range(rounds):
        for workload in (fan_in, mapped) if number % 2 else (mapped, fan_in):
            figure = drained(spec, workload, servers, logs, drains=1)
            found[workload.name].append(figure)
            print(f"round {number + 1}, {workload.name}: {shown(figure)}", file=sys.stderr, flush=True)
    return MapCost(items, found[fan_in.name], found[mapped.name])


def _named(name: str) -> Workload:
    return next(each for each in WORKLOADS if each.name == name)


def to_json(found: MapCost) -> dict[str, object]:
    """The figures of each round, and the factor."""
    sides = {"fan_in": found.fan_in, "map": found.mapped}
    rounds = {name: [(each.per_second, each.cpu_us) for each in side] for name, side in sides.items()}
    return {"items": found.items, **rounds, "factor": found.factor, "aim": AIM}


def show(found: MapCost) -> None:
    """The medians of both, and the factor."""
    console = Console()
    for name, side in (("fan_in", found.fan_in), ("map", found.mapped)):
        middle = Drained(median(each.per_second for each in side), median(each.cpu_us for each in side))
        console.print(f"{name:>8}: {shown(middle)}")
    console.print(f"  factor: {found.factor:.2f} for {found.items:,} items; the aim is {AIM:g} at most")
