"""What a child process counts, in plain dicts; its parent owns the real metrics.

One thread only. ``take`` gives what was counted since the last ``take`` as plain data:
``{"counters": [[name, [label, ...], amount], ...], "gauges": [[name, [label, ...], value], ...],
"histograms": [[name, [label, ...], [count of each bucket ...], sum], ...]}``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

from taskmesh.observability.definitions import DEFINITIONS, Kind

Series = tuple[str, tuple[str, ...]]


class Tally:
    """Counts without locks. A name that is no metric, or labels that are not its, raise at once."""

    __slots__ = ("_counters", "_gauges", "_histograms")

    def __init__(self) -> None:
        self._counters: dict[Series, float] = {}
        self._gauges: dict[Series, float] = {}
        self._histograms: dict[Series, _Buckets] = {}

    def count(self, name: str, labels: tuple[str, ...] = (), amount: float = 1) -> None:
        """Add to a counter."""
        series = (name, labels)
        try:
            self._counters[series] += amount
        except KeyError:
            _check(Kind.COUNTER, name, labels)
            self._counters[series] = amount

    def observe(self, name: str, seconds: float, labels: tuple[str, ...] = ()) -> None:
        """Add one duration to a histogram."""
        series = (name, labels)
        buckets = self._histograms.get(series)
        if buckets is None:
            _check(Kind.HISTOGRAM, name, labels)
            buckets = self._histograms[series] = _Buckets(DEFINITIONS[name].buckets)
        buckets.add(seconds)

    def set(self, name: str, value: float, labels: tuple[str, ...] = ()) -> None:
        """Set a gauge; it keeps its value until set again."""
        if (name, labels) not in self._gauges:
            _check(Kind.GAUGE, name, labels)
        self._gauges[name, labels] = value

    def take(self) -> dict[str, list[Any]]:
        """What was counted since the last call, and the gauges as they are."""
        counters, self._counters = self._counters, {}
        histograms, self._histograms = self._histograms, {}
        return {
            "counters": _listed(counters),
            "gauges": _listed(self._gauges),
            "histograms": [[name, list(labels), each.counts, each.sum] for (name, labels), each in histograms.items()],
        }


class _Buckets:
    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds


def _check(kind: Kind, name: str, labels: tuple[str, ...]) -> None:
    definition = DEFINITIONS.get(name)
    if definition is None or definition.kind is not kind:
        raise ValueError(f"{name!r} is no {kind} of taskmesh")
    if len(labels) != len(definition.labels):
        raise ValueError(f"{name} has the labels {definition.labels}, not {labels}")


def _listed(values: Mapping[Series, float]) -> list[Any]:
    return [[name, list(labels), value] for (name, labels), value in values.items()]
