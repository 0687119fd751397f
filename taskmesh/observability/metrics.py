"""The metrics of a whole worker, in Prometheus' text format.

Children send what their ``Tally`` took; the parent adds it up here. (prometheus_client's own way of sharing
between processes needs files and an environment variable, and cannot forget a child that died.)
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from taskmesh.observability.definitions import DEFINITIONS, PREFIX, Definition, Kind

MAX_LABEL_VALUES = 200
OTHER = "other"

Labels = tuple[str, ...]


class Metrics:
    """Adds up what processes report. Safe in threads."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._lock = threading.Lock()
        self._series = {name: _Series(definition) for name, definition in DEFINITIONS.items()}
        self.registry.register(_Adapter(self))

    def add(self, delta: Mapping[str, Sequence[Any]], source: str) -> None:
        """Add what one process counted since its last report.

        :param delta: what its ``Tally.take`` gave.
        :param source: names the process; its gauges stand until its next report, or until ``forget``.
        :raises KeyError: a name that is no metric.
        """
        with self._lock:
            for name, labels, amount in delta["counters"]:
                self._series[name].count(labels, amount)
            for name, labels, value in delta["gauges"]:
                self._series[name].set(labels, value, source)
            for name, labels, counts, total in delta["histograms"]:
                self._series[name].observe(labels, counts, total)

    def forget(self, source: str) -> None:
        """Drop the gauges of a process that is gone; what it counted stays."""
        with self._lock:
            for series in self._series.values():
                series.forget(source)

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)

    def collect(self) -> list[Metric]:
        """The metrics as prometheus_client knows them."""
        with self._lock:
            return [series.family() for series in self._series.values()]


class _Adapter(Collector):
    """Shows ``Metrics`` to a registry."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics.collect()


class _Series:
    """All label combinations of one metric."""

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        self._known: list[set[str]] = [set() for _ in definition.labels]
        self._counts: dict[Labels, float] = defaultdict(float)
        self._gauges: dict[Labels, dict[str, float]] = defaultdict(dict)
        self._buckets: dict[Labels, list[int]] = {}
        if not definition.labels:
            # So that a rate is known from the first scrape on.
            self._start()

    def count(self, labels: Sequence[str], amount: float) -> None:
        self._counts[self._fold(labels)] += amount

    def set(self, labels: Sequence[str], value: float, source: str) -> None:
        self._gauges[self._fold(labels)][source] = value

    def observe(self, labels: Sequence[str], counts: Sequence[int], total: float) -> None:
        folded = self._fold(labels)
        before = self._buckets.get(folded, [0] * len(counts))
        self._buckets[folded] = [one + other for one, other in zip(before, counts, strict=True)]
        self._counts[folded] += total

    def forget(self, source: str) -> None:
        for values in self._gauges.values():
            values.pop(source, None)

    def family(self) -> Metric:
        match self._definition.kind:
            case Kind.COUNTER:
                return self._counter()
            case Kind.GAUGE:
                return self._gauge()
            case Kind.HISTOGRAM:
                return self._histogram()

    def _start(self) -> None:
        if self._definition.kind is Kind.COUNTER:
            self._counts[()] = 0.0
        if self._definition.kind is Kind.HISTOGRAM:
            self.observe((), [0] * (len(self._definition.buckets) + 1), 0.0)

    def _fold(self, labels: Sequence[str]) -> Labels:
        """The labels, with values beyond the limit folded into one: each new one costs memory for ever."""
        return tuple(self._known_or_other(place, value) for place, value in enumerate(labels))

    def _known_or_other(self, place: int, value: str) -> str:
        known = self._known[place]
        if value not in known:
            if len(known) >= MAX_LABEL_VALUES:
                return OTHER
            known.add(value)
        return value

    def _counter(self) -> Metric:
        definition = self._definition
        family = CounterMetricFamily(PREFIX + definition.name, definition.help, labels=definition.labels)
        for labels, value in self._counts.items():
            family.add_metric(labels, value)
        return family

    def _gauge(self) -> Metric:
        definition = self._definition
        family = GaugeMetricFamily(PREFIX + definition.name, definition.help, labels=definition.labels)
        for labels, by_source in self._gauges.items():
            family.add_metric(labels, definition.merge(by_source.values()) if by_source else 0.0)
        return family

    def _histogram(self) -> Metric:
        definition = self._definition
        family = HistogramMetricFamily(PREFIX + definition.name, definition.help, labels=definition.labels)
        bounds = [*(str(float(bound)) for bound in definition.buckets), "+Inf"]
        for labels, counts in self._buckets.items():
            family.add_metric(labels, _cumulated(bounds, counts), sum_value=self._counts[labels])
        return family


def _cumulated(bounds: Sequence[str], counts: Sequence[int]) -> list[tuple[str, float]]:
    total = 0
    pairs = []
    for bound, count in zip(bounds, counts, strict=True):
        total += count
        pairs.append((bound, float(total)))
    return pairs
