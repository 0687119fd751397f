"""Every metric: its name without the prefix, its labels, what it means. All times are seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

PREFIX = "taskmesh_"
NODE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
TURN_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)


class Kind(StrEnum):
    """What a metric counts."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric. ``merge`` makes one value of a gauge that several processes report."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    merge: Callable[[Iterable[float]], float] = sum


def _counter(name: str, text: str, *labels: str) -> Definition:
    return Definition(name, Kind.COUNTER, text, labels)


def _gauge(name: str, text: str, *labels: str, merge: Callable[[Iterable[float]], float] = sum) -> Definition:
    return Definition(name, Kind.GAUGE, text, labels, merge=merge)


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Definition:
    return Definition(name, Kind.HISTOGRAM, text, labels, buckets)


_ALL = (
    _counter("nodes_total", "Attempts of nodes that ended, by outcome.", "task", "outcome"),
    _histogram("node_seconds", "How long the user's function ran.", NODE_BUCKETS, "task"),
    _counter("claims_total", "Answers of the store to claims of nodes.", "answer"),
    _counter("published_total", "Messages that the broker has confirmed."),
    _counter("redelivered_total", "Messages that the broker delivered again."),
    _counter("dead_letters_total", "Messages that became dead letters, by reason.", "reason"),
    _gauge(
        "dead_letters",
        "Dead letters that the store keeps.",
        merge=max,
    ),
    _counter("payloads_removed_total", "Values that were put aside and are removed, as their runs are gone."),
    _counter("stale_settlements_total", "Ends of attempts that came after another attempt had taken over; refused."),
    _counter("timeouts_total", "Attempts that were over a time limit of their node, by limit.", "limit"),
    _gauge("breaker_open", "1 while a circuit breaker is not closed.", "breaker", merge=max),
    _counter("breaker_opens_total", "How often a circuit breaker has opened.", "breaker"),
    _counter("breaker_probes_total", "Nodes that were let through to try an open breaker.", "breaker"),
    _counter("breaker_parked_total", "Nodes that had to wait since their breaker was not closed.", "breaker"),
    _counter("breaker_fallbacks_total", "Nodes in whose place the fallback ran.", "breaker"),
    _counter("flow_reloads_total", "Times that changed flow files were read, by what came of it.", "outcome"),
    _gauge("flow_problems", "What is wrong with the flow files, so that nothing of them is registered.", merge=max),
    _counter("released_total", "Running nodes that were handed back, by a worker that stops or lost an executor."),
    _counter("redriven_total", "Nodes published again because their message or their holder was lost."),
    _counter("events_published_total", "Events of ended runs and nodes that the broker has confirmed."),
    _counter("events_taken_total", "Events from elsewhere that came over the broker, whether or not they began runs."),
    _gauge("events_waiting", "Events to publish, in the partitions that this worker keeps house in."),
    _gauge("events_lost", "Events that had to go unpublished from the partitions that this worker keeps house in."),
    _gauge("event_batches_open", "Batches that take events, in the partitions that this worker keeps house in."),
    _counter("event_batches_begun_total", "Batches of events whose runs have begun."),
    _gauge("keeper_partitions", "Partitions that this worker keeps house in."),
    _gauge("keeper_overdue", "Nodes that the last passes of this worker's keepers had to look after."),
    _histogram("keeper_pass_seconds", "How long one pass of a keeper took.", TURN_BUCKETS),
    _gauge("executors", "Executor processes that are ready."),
    _counter("executor_deaths_total", "Executor processes that ended without being asked to."),
    _gauge("in_flight", "Nodes claimed and not settled yet."),
    _gauge("unconfirmed", "Messages published and not confirmed yet."),
    _histogram("timer_lateness_seconds", "How late nodes were woken for their next attempt.", TURN_BUCKETS),
    _histogram("schedule_lateness_seconds", "How late the runs of schedules were begun.", TURN_BUCKETS),
    _histogram("redis_batch_seconds", "How long the store took to answer one batch.", TURN_BUCKETS),
    _histogram("loop_turn_seconds", "How long one turn of the I/O loop took.", TURN_BUCKETS),
    _gauge(
        "probe_age_seconds",
        "How long ago the newest probe was sent that came through the slowest shard of a pool.",
        "pool",
        merge=max,
    ),
    _gauge("keeper_lag_seconds", "How much later than planned the last pass of a keeper began.", merge=max),
    _gauge("link_up", "1 when the connection of every I/O process is up.", "link", merge=min),
)

DEFINITIONS: Mapping[str, Definition] = MappingProxyType({each.name: each for each in _ALL})
