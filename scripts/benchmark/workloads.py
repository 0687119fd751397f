"""What is measured: one list for taskmesh and its peers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Kind(StrEnum):
    """How a workload is timed."""

    DRAIN = "drain"  # the queue fills while the workers are frozen; the clock runs from their thaw to the last end
    SUBMIT = "submit"  # the clock runs while the queue fills; the drain that follows is not timed
    LATENCY = "latency"  # the client does one after the other and times each


@dataclass(frozen=True, slots=True)
class Workload:
    """One figure. A unit of ``size`` is ``nodes`` nodes, and ``extra`` nodes come on top."""

    name: str
    title: str
    kind: Kind
    size: int
    nodes: int = 1
    extra: int = 0
    turns: int = 1
    method: str = ""

    @property
    def total(self) -> int:
        """How many nodes it runs, or runs it submits."""
        return self.size * self.nodes + self.extra

    @property
    def action(self) -> str:
        """The method of the driver that does it."""
        return self.method or self.name

    def sized(self, size: int) -> Workload:
        return replace(self, size=size)


WORKLOADS = (
    Workload("single", "runs of one node", Kind.DRAIN, 20_000),
    Workload("flows_of_9", "flows of 8 nodes and a join", Kind.DRAIN, 2_000, nodes=9),
    Workload("fan_in", "one join that waits for many", Kind.DRAIN, 5_000, extra=1),
    Workload("map", "one task mapped over a list, its outputs joined", Kind.DRAIN, 5_000, extra=2),
    Workload("chains_at_once", "chains of 100 nodes, at once", Kind.DRAIN, 100, nodes=100),
    Workload("montage", "recorded Montage workflows of 103 nodes, as no-ops", Kind.DRAIN, 50, nodes=103),
    Workload("submit_many", "runs submitted in bulk from one process", Kind.SUBMIT, 20_000, method="single"),
    Workload("chain", "each hop of one chain of 100 nodes, alone", Kind.LATENCY, 100, turns=5),
    Workload("round_trip", "one task sent, its result awaited", Kind.LATENCY, 500),
)
QUICK_DIVISOR = 10
WARM_UP_DIVISOR = 20


def quick(workload: Workload) -> Workload:
    """The same with less to do."""
    return replace(workload, size=max(1, workload.size // QUICK_DIVISOR), turns=1)
