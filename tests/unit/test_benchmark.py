from __future__ import annotations

import sys
import time
from collections.abc import Callable
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from scripts.benchmark import page
from scripts.benchmark.__main__ import parser, plan_of
from scripts.benchmark.features import Cost, Drained
from scripts.benchmark.figures import Figure, median_of, of_latencies
from scripts.benchmark.maps import MapCost
from scripts.benchmark.maps import to_json as maps_json
from scripts.benchmark.montage import Shape, read_shape, twin_shape
from scripts.benchmark.report import Report
from scripts.benchmark.session import running
from scripts.benchmark.systems.spec import Spec
from scripts.benchmark.targets import judged
from scripts.benchmark.workloads import WORKLOADS, Kind, Workload

FAKE_DRIVER = """
import json, sys
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    print(line.strip(), file=sys.stderr, flush=True)
    print(json.dumps({"seconds": 0.5 if request["op"] == "submit" else [0.001, 0.003]}), flush=True)
"""
SLEEPER = "import time; time.sleep(60)"
PATIENCE_SECONDS = 10.0


def levels(shape: Shape) -> int:
    level: dict[str, int] = {}
    for node in TopologicalSorter(shape).static_order():
        level[node] = 1 + max((level[parent] for parent in shape[node]), default=0)
    return max(level.values())


def full_report() -> Report:
    report = Report({"CPU": "one"}, "./scripts/bench")
    report.raw_limits = {1: 10_000.0, 2: 16_000.0}
    report.workloads = {
        1: {"fan_in": Figure(5_000, per_second=6_000.0), "chain": Figure(100, p50_ms=1.5, p99_ms=2.0)},
        2: {"fan_in": Figure(5_000, per_second=8_000.0)},
    }
    report.peers = {"celery": {"fan_in": Figure(1_000, per_second=500.0)}}
    report.skipped = {"bullmq": "Node.js is not here"}
    report.import_ms = 100.0
    report.memory_mb = {"1000": {"io": 40.0}, "200000": {"io": 44.0}}
    report.scale = {"runs_queued": {"100": 100.0, "100000": 150.0}}
    return report


def spec_of(worker: str) -> Spec:
    return Spec("fake", [[sys.executable, "-c", worker]], [sys.executable, "-c", FAKE_DRIVER], {"single": None}, "none")


def test_the_cost_of_features_is_the_median_of_the_rounds_own_ratios() -> None:
    # In the second round something else took half of the machine; medians of each side would say 10 % and 20 %.
    without = [Drained(1000.0, 100.0), Drained(500.0, 200.0), Drained(1000.0, 100.0)]
    careful = [Drained(950.0, 104.0), Drained(475.0, 208.0), Drained(900.0, 120.0)]
    cost = Cost(without, careful)
    assert (cost.of_rate, cost.of_cpu) == (0.05, 0.04)


def test_the_cost_of_a_map_is_the_median_of_the_rounds_own_ratios() -> None:
    fan_in = [Drained(1000.0, 100.0), Drained(500.0, 200.0), Drained(1000.0, 100.0)]
    mapped = [Drained(800.0, 110.0), Drained(400.0, 220.0), Drained(500.0, 200.0)]
    cost = MapCost(9, fan_in, mapped)
    assert cost.factor == 1.25
    assert maps_json(cost)["factor"] == 1.25


def test_the_median_is_taken_of_each_value() -> None:
    rates = [Figure(9, per_second=rate) for rate in (5.0, 1.0, 3.0)]
    assert median_of(rates) == Figure(9, per_second=3.0)


def test_latencies_become_milliseconds() -> None:
    figure = of_latencies(101, [number / 1000 for number in range(101)])
    assert figure.p50_ms == pytest.approx(50)
    assert figure.p99_ms == pytest.approx(99)


def test_one_latency_is_its_own_percentile() -> None:
    assert of_latencies(1, [0.002]).p99_ms == pytest.approx(2)


def test_the_twin_has_the_size_and_levels_of_the_recorded_workflow() -> None:
    twin = twin_shape()
    assert len(twin) == 103
    assert levels(twin) == 8
    assert all(parent in twin for parents in twin.values() for parent in parents)


def test_a_recorded_shape_lists_parents_first(tmp_path: Path) -> None:
    record = tmp_path / "recorded.json"
    record.write_text(
        '{"workflow": {"specification": {"tasks": [{"id": "b", "parents": ["a"]}, {"id": "a", "parents": []}]}}}'
    )
    assert list(read_shape(record).items()) == [("a", []), ("b", ["a"])]


def test_json_has_the_ratio_to_the_limit_of_the_same_number_of_io_processes() -> None:
    found = full_report().to_json()
    assert found["raw_limit"] == 10_000
    assert found["workloads"]["fan_in"] == {
        "size": 5_000, "per_second": 6_000, "ratio_to_raw": 0.6, "p50_ms": None, "p99_ms": None,
    }  # fmt: skip
    assert found["workloads"]["fan_in_io2"]["ratio_to_raw"] == 0.5
    assert found["peers"]["celery"]["fan_in"]["per_second"] == 500


def test_targets_say_what_was_reached() -> None:
    verdicts = {target.figure: target.reached for target in judged(full_report())}
    assert verdicts == {
        "fan_in, half of the raw limit": True,
        "fan_in, 15 x celery": False,
        "chain, median of a hop": False,
        "from taskmesh import Mesh": True,
        "memory of io": True,
        "growth of io over the soak": True,
        "cost of scale, runs_queued": False,
    }


def test_an_empty_report_has_no_targets() -> None:
    assert judged(Report({}, "")) == []


def test_the_page_shows_figures_facts_and_how_to_repeat_it(tmp_path: Path) -> None:
    target = tmp_path / "benchmarks.md"
    page.write_page(full_report(), target)
    text = target.read_text()
    assert "| fan_in | one join that waits for many (5,000) | 6,000/s (60% of raw) | 8,000/s (50% of raw) |" in text
    assert "**bullmq** was skipped: Node.js is not here" in text
    assert "```\n./scripts/bench\n```" in text


def test_a_session_asks_the_driver_in_order(tmp_path: Path) -> None:
    with running(spec_of(SLEEPER), tmp_path) as session:
        session.warm_up(WORKLOADS[0])
        submitted = session.measure(Workload("many", "", Kind.SUBMIT, 100))
        single = session.measure(Workload("hop", "", Kind.LATENCY, 2))
    assert submitted.per_second == 200
    assert single.p50_ms == pytest.approx(2)
    asked = [line.split('"')[3] for line in (tmp_path / "fake-driver.log").read_text().splitlines()]
    assert asked == ["submit", "wait", "clear", "submit", "wait", "clear", "latencies", "clear"]


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_frozen_worker_stands_still_with_its_children_and_goes_on(tmp_path: Path) -> None:
    with running(spec_of(SLEEPER), tmp_path) as session:
        (worker,) = session.workers
        with worker.frozen():
            # The kernel stops a process a moment after it was told to.
            _until(lambda: {process.status() for process in worker.tree()} == {"stopped"})
        _until(lambda: "stopped" not in {process.status() for process in worker.tree()})
    assert worker.tree() == []


def test_a_worker_that_ended_is_reported_with_its_log(tmp_path: Path) -> None:
    silent = "import json, sys; print(json.dumps({})); sys.stdout.flush(); sys.stdin.read()"
    spec = Spec(
        "fake", [[sys.executable, "-c", "raise SystemExit('no broker')"]], [sys.executable, "-c", silent], {}, ""
    )
    with running(spec, tmp_path) as session, pytest.raises(RuntimeError, match="no broker"):
        session.driver.ask("wait")


def test_peers_are_all_or_some() -> None:
    assert plan_of(parser().parse_args(["--peers"])).peers == ("celery", "dramatiq", "taskiq", "bullmq")
    assert plan_of(parser().parse_args(["--peers", "bullmq"])).peers == ("bullmq",)


def test_an_unknown_peer_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--peers", "nobody"])
    assert "unknown: nobody; there are celery" in capsys.readouterr().err
