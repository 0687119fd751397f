"""What a measurement gave, and the median of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles


@dataclass(frozen=True, slots=True)
class Figure:
    """Either a rate, or how long one took in milliseconds. ``size`` is what was asked for."""

    size: int
    per_second: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None

    def to_json(self, raw_limit: float | None) -> dict[str, float | None]:
        """As the JSON report shows it; a peer's figure has no ratio to the raw limit of RabbitMQ."""
        ratio = round(self.per_second / raw_limit, 3) if self.per_second and raw_limit else None
        fields = {name: value if value is None else round(value, 3) for name, value in asdict(self).items()}
        return {**fields, "ratio_to_raw": ratio}


def of_latencies(size: int, seconds: Sequence[float]) -> Figure:
    """The median and the 99th percentile."""
    return Figure(size, p50_ms=1000 * median(seconds), p99_ms=1000 * percentile_99(seconds))


def percentile_99(values: Sequence[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[-1] if len(values) > 1 else values[0]


def median_of(figures: Sequence[Figure]) -> Figure:
    """Each value's own median over repeats of one workload."""
    return Figure(
        figures[0].size,
        _median([figure.per_second for figure in figures]),
        _median([figure.p50_ms for figure in figures]),
        _median([figure.p99_ms for figure in figures]),
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
