from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from taskmesh.observability.definitions import DEFINITIONS, Kind
from taskmesh.observability.metrics import MAX_LABEL_VALUES, Metrics
from taskmesh.observability.tally import Tally


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"taskmesh_{name}", labels)


def test_what_children_count_adds_up() -> None:
    metrics = Metrics()
    for source, amount in (("io-0", 2), ("io-1", 3), ("io-0", 5)):
        tally = Tally()
        tally.count("nodes_total", ("orders:ship", "succeeded"), amount)
        tally.count("published_total")
        metrics.add(json.loads(json.dumps(tally.take())), source)
    assert sample(metrics, "nodes_total", task="orders:ship", outcome="succeeded") == 10
    assert sample(metrics, "published_total") == 3


def test_a_take_is_what_came_since_the_last() -> None:
    tally = Tally()
    tally.count("published_total", amount=4)
    tally.observe("loop_turn_seconds", 0.01)
    assert tally.take()["counters"] == [["published_total", [], 4]]
    assert tally.take() == {"counters": [], "gauges": [], "histograms": []}


def test_histograms_are_cumulative_and_a_bound_belongs_to_its_bucket() -> None:
    metrics = Metrics()
    for seconds in ([0.001, 0.002], [3000.0]):
        tally = Tally()
        for value in seconds:
            tally.observe("node_seconds", value, ("t",))
        metrics.add(tally.take(), "io-0")
    buckets = [sample(metrics, "node_seconds_bucket", task="t", le=bound) for bound in ("0.001", "0.0025", "+Inf")]
    assert buckets == [1, 2, 3]
    assert sample(metrics, "node_seconds_count", task="t") == 3
    assert sample(metrics, "node_seconds_sum", task="t") == pytest.approx(3000.003)


def test_gauges_of_several_processes_are_merged_and_forgotten() -> None:
    metrics = Metrics()
    for source, up in (("io-0", 1), ("io-1", 0)):
        tally = Tally()
        tally.set("in_flight", 5)
        tally.set("link_up", up, ("publisher",))
        metrics.add(tally.take(), source)
    assert sample(metrics, "in_flight") == 10
    assert sample(metrics, "link_up", link="publisher") == 0
    metrics.forget("io-1")
    assert sample(metrics, "in_flight") == 5
    assert sample(metrics, "link_up", link="publisher") == 1
    metrics.forget("io-0")
    assert sample(metrics, "link_up", link="publisher") == 0


def test_a_gauge_keeps_its_value_between_takes() -> None:
    tally = Tally()
    tally.set("unconfirmed", 7)
    tally.take()
    assert tally.take()["gauges"] == [["unconfirmed", [], 7]]


def test_label_values_are_bounded() -> None:
    metrics = Metrics()
    tally = Tally()
    for number in range(MAX_LABEL_VALUES + 50):
        tally.count("dead_letters_total", (f"reason-{number}",))
    metrics.add(tally.take(), "io-0")
    assert sample(metrics, "dead_letters_total", reason="other") == 50
    assert sample(metrics, "dead_letters_total", reason="reason-0") == 1
    assert metrics.render().count(b"taskmesh_dead_letters_total{") == MAX_LABEL_VALUES + 1


def test_a_metric_that_does_not_exist_is_refused_where_it_is_counted() -> None:
    tally = Tally()
    with pytest.raises(ValueError, match="'nodes' is no counter"):
        tally.count("nodes")
    with pytest.raises(ValueError, match="'nodes_total' is no gauge"):
        tally.set("nodes_total", 1)
    with pytest.raises(ValueError, match="'in_flight' is no histogram"):
        tally.observe("in_flight", 1.0)
    with pytest.raises(ValueError, match="has the labels"):
        tally.count("nodes_total", ("only one",))
    assert tally.take()["counters"] == []


def test_metrics_without_labels_are_there_from_the_start() -> None:
    text = Metrics().render().decode()
    assert "taskmesh_published_total 0.0" in text
    assert "taskmesh_loop_turn_seconds_count 0.0" in text


def test_names_say_their_kind_and_unit() -> None:
    for definition in DEFINITIONS.values():
        assert (definition.kind is Kind.COUNTER) == definition.name.endswith("_total")
        assert definition.kind is not Kind.HISTOGRAM or definition.name.endswith("_seconds")
        assert definition.help.endswith(".")


def test_a_child_that_counts_does_not_load_prometheus() -> None:
    code = "import sys, taskmesh.observability.tally; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_page_for_operators_lists_every_metric_with_its_labels() -> None:
    page = (Path(__file__).parents[2] / "docs/operations.md").read_text()
    found = re.findall(r"^\| `taskmesh_(\w+)` \| (\w+) \| (.*?) ?\|", page, re.MULTILINE)
    rows = {name: (kind, labels) for name, kind, labels in found}
    for name, definition in DEFINITIONS.items():
        labels = ", ".join(f"`{label}`" for label in definition.labels)
        assert rows[name] == (definition.kind, labels)
    assert set(rows) == set(DEFINITIONS)
