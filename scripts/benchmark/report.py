"""All that a benchmark run found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scripts.benchmark.figures import Figure

Figures = dict[str, Figure]  # by the workload's name


@dataclass(slots=True)
class Report:
    """Medians, filled while the benchmark goes on. Figures of taskmesh are kept by the number of I/O processes."""

    facts: dict[str, str]
    command: str
    raw_limits: dict[int, float] = field(default_factory=dict)
    workloads: dict[int, Figures] = field(default_factory=dict)
    peers: dict[str, Figures] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    import_ms: float | None = None
    memory_mb: dict[str, dict[str, float]] = field(default_factory=dict)
    scale: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def io_counts(self) -> list[int]:
        """How many I/O processes were tried; the first is what the targets are held against."""
        return list(self.raw_limits)

    def figure(self, name: str) -> Figure | None:
        """taskmesh's figure with the first number of I/O processes."""
        return self.workloads.get(self.io_counts[0], {}).get(name) if self.raw_limits else None

    def raw_limit(self) -> float | None:
        return self.raw_limits[self.io_counts[0]] if self.raw_limits else None

    def to_json(self) -> dict[str, Any]:
        """The report as plain values: rates in 1/s, latencies in milliseconds, memory in megabytes."""
        return {
            "raw_limit": _rounded(self.raw_limit()),
            "raw_limits": {str(count): _rounded(limit) for count, limit in self.raw_limits.items()},
            "workloads": self._workloads(),
            "peers": {name: _plain(figures, None) for name, figures in self.peers.items()},
            "skipped": self.skipped,
            "import_ms": _rounded(self.import_ms),
            "memory_mb": self.memory_mb,
            "scale_us_per_node": self.scale,
            "facts": self.facts,
            "command": self.command,
        }

    def _workloads(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for count, figures in self.workloads.items():
            suffix = "" if count == self.io_counts[0] else f"_io{count}"
            plain = _plain(figures, self.raw_limits[count])
            found |= {f"{name}{suffix}": figure for name, figure in plain.items()}
        return found


def _plain(figures: Mapping[str, Figure], raw_limit: float | None) -> dict[str, Any]:
    return {name: figure.to_json(raw_limit) for name, figure in figures.items()}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
