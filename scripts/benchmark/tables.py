"""The report as tables, for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import rich.table

from scripts.benchmark.figures import Figure
from scripts.benchmark.report import Figures, Report
from scripts.benchmark.targets import Target, judged
from scripts.benchmark.workloads import WORKLOADS, Kind, Workload

NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Table:
    """A title, a header and rows of text."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def to_rich(self) -> rich.table.Table:
        table = rich.table.Table(title=self.title, title_justify="left")
        for column, name in enumerate(self.header):
            table.add_column(name, no_wrap=column == 0)
        for row in self.rows:
            table.add_row(*row)
        return table

    def to_markdown(self) -> str:
        lines = [self.header, ("---",) * len(self.header), *self.rows]
        return f"## {self.title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def tables_of(report: Report) -> Iterator[Table]:
    """Every table that the report has content for."""
    if report.raw_limits:
        yield _raw(report)
    if report.workloads:
        yield _workloads(report)
    if report.peers or report.skipped:
        yield _peers(report)
    if report.import_ms is not None:
        yield _resources(report)
    if report.scale:
        yield _scale(report)
    targets = judged(report)
    if targets:
        yield Table("Targets", ("figure", "measured", "target", "reached"), [_target(target) for target in targets])


def _raw(report: Report) -> Table:
    rows = [(str(count), number(limit)) for count, limit in report.raw_limits.items()]
    return Table("Raw limit of the broker", ("I/O processes", "messages/s"), rows)


def _workloads(report: Report) -> Table:
    columns = [f"{count} I/O process{'es' if count > 1 else ''}" for count in report.io_counts]
    rows = [
        (workload.name, _description(workload, size), *_cells(report, workload))
        for workload in WORKLOADS
        if (size := _size(report, workload)) is not None
    ]
    return Table("taskmesh", ("workload", "what", *columns), rows)


def _size(report: Report, workload: Workload) -> int | None:
    found = report.figure(workload.name)
    return None if found is None else found.size


def _description(workload: Workload, size: int) -> str:
    return f"{workload.title} ({size:,})"


def _cells(report: Report, workload: Workload) -> Iterator[str]:
    for count in report.io_counts:
        figure = report.workloads[count].get(workload.name)
        yield _with_ratio(figure, report.raw_limits[count]) if figure else NOTHING


def _with_ratio(figure: Figure, raw_limit: float) -> str:
    if figure.per_second is None:
        return show(figure)
    return f"{show(figure)} ({figure.per_second / raw_limit:.0%} of raw)"


def _peers(report: Report) -> Table:
    own = {"taskmesh": report.workloads.get(report.io_counts[0], {})} if report.io_counts else {}
    systems: dict[str, Figures] = {**own, **report.peers}
    rows = [
        (workload.name, *(_peer_cell(figures.get(workload.name), workload) for figures in systems.values()))
        for workload in WORKLOADS
        if any(workload.name in figures for figures in report.peers.values())
    ]
    return Table("Beside others", ("workload", *systems), rows)


def _peer_cell(figure: Figure | None, workload: Workload) -> str:
    if figure is None:
        return NOTHING
    smaller = f" ({figure.size:,})" if workload.kind is Kind.DRAIN and figure.size != workload.size else ""
    return show(figure) + smaller


def _resources(report: Report) -> Table:
    assert report.import_ms is not None
    rows = [("from taskmesh import Mesh, cold process", f"{report.import_ms:.0f} ms")]
    for tasks, roles in report.memory_mb.items():
        rows += [
            (f"memory of the largest {role}, after {int(tasks):,} tasks", f"{size:.0f} MB")
            for role, size in roles.items()
        ]
    return Table("Import and memory", ("what", "measured"), rows)


def _scale(report: Report) -> Table:
    rows = [
        (what.replace("_", " "), f"{int(size):,}", f"{cost:.0f}")
        for what, costs in report.scale.items()
        for size, cost in costs.items()
    ]
    return Table("Cost of scale", ("what", "size", "µs for each"), rows)


def _target(target: Target) -> tuple[str, ...]:
    bound = f"{'≥' if target.at_least else '≤'} {number(target.bound)} {target.unit}"
    return (target.figure, f"{number(target.measured)} {target.unit}", bound, "yes" if target.reached else "no")


def show(figure: Figure) -> str:
    """A rate, or the median and the 99th percentile."""
    if figure.per_second is not None:
        return f"{number(figure.per_second)}/s"
    assert figure.p50_ms is not None
    assert figure.p99_ms is not None
    return f"{figure.p50_ms:.2f} ms, p99 {figure.p99_ms:.2f} ms"


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
