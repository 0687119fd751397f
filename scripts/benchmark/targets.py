"""The figures to reach, and whether they were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scripts.benchmark.figures import Figure
from scripts.benchmark.report import Report

OF_RAW_LIMIT = 0.5
WIDE = ("fan_in", "flows_of_9", "chains_at_once")
TIMES_PEER = {"bullmq": 1.0, "dramatiq": 10.0, "celery": 15.0}
SINGLE_PER_SECOND, SINGLE_TIMES_DRAMATIQ = 8_000, 2.5
SUBMITTED_PER_SECOND = 10_000
HOP_MS = 1.2
ROUND_TRIP_P50_MS, ROUND_TRIP_P99_MS = 1.2, 5.0
IMPORT_MS = 150
PROCESS_MB = 60
GROWTH = 1.3  # of the time per node from the cheapest size to the largest, and of memory over a soak


@dataclass(frozen=True, slots=True)
class Target:
    """One figure that was held against its target."""

    figure: str
    measured: float
    bound: float
    at_least: bool
    unit: str = "/s"

    @property
    def reached(self) -> bool:
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound


def judged(report: Report) -> list[Target]:
    """Every target whose figures are in the report."""
    return [*_wide(report), *_single(report), *_latency(report), *_resources(report), *_scale(report)]


def _wide(report: Report) -> Iterator[Target]:
    limit = report.raw_limit()
    for name in WIDE:
        figure = report.figure(name)
        if figure is None or figure.per_second is None or limit is None:
            continue
        yield Target(f"{name}, half of the raw limit", figure.per_second, OF_RAW_LIMIT * limit, True)
        for peer, times in TIMES_PEER.items():
            yield from _beats(report, name, figure, peer, times)


def _single(report: Report) -> Iterator[Target]:
    single, submitted = report.figure("single"), report.figure("submit_many")
    if single is not None and single.per_second is not None:
        yield Target("single", single.per_second, SINGLE_PER_SECOND, True)
        yield from _beats(report, "single", single, "dramatiq", SINGLE_TIMES_DRAMATIQ)
    if submitted is not None and submitted.per_second is not None:
        yield Target("submit_many", submitted.per_second, SUBMITTED_PER_SECOND, True)


def _beats(report: Report, name: str, figure: Figure, peer: str, times: float) -> Iterator[Target]:
    theirs = report.peers.get(peer, {}).get(name)
    if theirs is not None and theirs.per_second and figure.per_second:
        yield Target(f"{name}, {times:g} x {peer}", figure.per_second, times * theirs.per_second, True)


def _latency(report: Report) -> Iterator[Target]:
    chain, round_trip = report.figure("chain"), report.figure("round_trip")
    if chain is not None and chain.p50_ms is not None:
        yield Target("chain, median of a hop", chain.p50_ms, HOP_MS, False, "ms")
    if round_trip is not None and round_trip.p50_ms is not None and round_trip.p99_ms is not None:
        yield Target("round_trip, median", round_trip.p50_ms, ROUND_TRIP_P50_MS, False, "ms")
        yield Target("round_trip, p99", round_trip.p99_ms, ROUND_TRIP_P99_MS, False, "ms")


def _resources(report: Report) -> Iterator[Target]:
    if report.import_ms is not None:
        yield Target("from taskmesh import Mesh", report.import_ms, IMPORT_MS, False, "ms")
    stages = list(report.memory_mb.values())
    for role, size in stages[-1].items() if stages else ():
        yield Target(f"memory of {role}", size, PROCESS_MB, False, "MB")
    if len(stages) > 1:
        for role, size in stages[-1].items():
            yield Target(f"growth of {role} over the soak", size / stages[0][role], GROWTH, False, "x")


def _scale(report: Report) -> Iterator[Target]:
    for what, costs in report.scale.items():
        *smaller, largest = costs.values()
        yield Target(f"cost of scale, {what}", largest / min(smaller), GROWTH, False, "x")
