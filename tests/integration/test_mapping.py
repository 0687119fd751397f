"""Tasks that run for each item of a list, on real servers: their outputs, their failures, and who goes with whom."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskmesh import NodeState, Run, RunCancelledError, RunFailedError, RunState
from tests.integration import mapping_app as app
from tests.integration.mesh_bench import MeshBench, Worker, kill9
from tests.integration.shell import Shell

APP = "tests.integration.mapping_app"
PATIENCE_SECONDS = 60.0
EXECUTOR = "taskmesh.worker.executors.main"


@pytest.fixture
def worker(bench: MeshBench) -> Worker:
    bench.mesh.registry = app.mesh.registry
    # More at once than a bound lets begin.
    return bench.worker("--threads", "4", app=APP)


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"it never came to: {what}"
        time.sleep(0.02)


def _items(bench: MeshBench, run: Run, node: str) -> Run:
    """The run of the items of a node."""
    found: list[str] = []

    def is_there() -> bool:
        found[:] = [each.child for each in run.details().nodes if each.name == node and each.child]
        return bool(found)

    _until(is_there, f"node {node} begins its items")
    return bench.mesh.run(found[0])


def _shown(bench: MeshBench, run: Run) -> Any:
    """What ``show -o json`` prints; on a loaded machine asyncio's debug mode may warn of slow steps before that."""
    command = bench.command("show", run.id, "-o", "json")
    assert command.wait(PATIENCE_SECONDS) == 0, command.output
    printed = re.search(r"^\{$.*", command.output, re.DOTALL | re.MULTILINE)
    assert printed, command.output
    return json.loads(printed[0])


@pytest.mark.usefixtures("worker")
def test_a_task_runs_once_for_each_item(bench: MeshBench) -> None:
    for count in (0, 1, 1000):
        run = bench.mesh.submit(app.squares, count=count, factor=2)
        assert run.result(timeout=PATIENCE_SECONDS) == sum(2 * each * each for each in range(count))
    assert [*bench.times_run("square").values()] == [1] * 1001


@pytest.mark.usefixtures("worker")
def test_the_items_are_the_nodes_of_a_run_of_their_own(bench: MeshBench) -> None:
    run = bench.mesh.submit(app.squares, count=100)
    run.result(timeout=PATIENCE_SECONDS)
    [node] = [each for each in run.details().nodes if each.name == "square"]
    assert (node.status, node.attempts, node.items) == (NodeState.SUCCEEDED, 1, (100, 100, {"succeeded": 100}, ()))
    items = _items(bench, run, "square").details()
    assert (items.flow, items.status, len(items.nodes)) == ("squares.square", RunState.SUCCEEDED, 100)
    assert [(each.name, each.output) for each in items.nodes[:3]] == [
        ("square[0]", 0),
        ("square[1]", 1),
        ("square[2]", 4),
    ]
    assert {each.node for each in bench.effects("square")} == {f"square[{at}]" for at in range(100)}


@pytest.mark.usefixtures("worker")
def test_maps_over_maps_in_maps_and_over_products(bench: MeshBench) -> None:
    assert bench.mesh.submit(app.twice, count=50).result(timeout=PATIENCE_SECONDS) == [each**4 for each in range(50)]
    values = [[*range(size)] for size in range(10)]
    found = bench.mesh.submit(app.rows, values=values, factor=2).result(timeout=PATIENCE_SECONDS)
    assert found == [sum(2 * each * each for each in row) for row in values]
    assert bench.mesh.submit(app.crossed).result(timeout=PATIENCE_SECONDS) == [10, 100, 40, 400]


@pytest.mark.usefixtures("worker")
def test_the_first_failure_fails_the_map(bench: MeshBench) -> None:
    run = bench.mesh.submit(app.strict, count=20, unlucky=[3])
    with pytest.raises(RunFailedError, match=r"node 'pick': ChildRunFailed.*node 'pick\[3\]': ValueError: unlucky 3"):
        run.result(timeout=PATIENCE_SECONDS)


@pytest.mark.usefixtures("worker")
def test_items_that_have_failed_run_again_and_the_others_do_not(bench: MeshBench, tmp_path: Path) -> None:
    run = bench.mesh.submit(app.mended, count=20, unlucky=[3, 7, 8], path=str(tmp_path / "key"))
    run.wait(timeout=PATIENCE_SECONDS)
    items = _shown(bench, run)["nodes"]["mend"]["items"]
    assert items["states"] == {"succeeded": 17, "failed": 3}
    assert items["failed"][0] == {"item": "mend[3]", "type": "ValueError", "message": "unlucky 3"}
    (tmp_path / "key").touch()
    for node in ("mend[7]", "mend"):
        again = bench.command("retry", run.id, "--node", node)
        assert again.wait(PATIENCE_SECONDS) == 0, again.output
        run.wait(timeout=PATIENCE_SECONDS)
    assert run.result(timeout=PATIENCE_SECONDS) == [*range(20)]
    times = bench.times_run("mend")
    assert {node for (_, node), count in times.items() if count > 1} == {"mend[3]", "mend[7]", "mend[8]"}


@pytest.mark.usefixtures("worker")
def test_the_others_go_on_where_they_may_unless_too_few_succeed(bench: MeshBench) -> None:
    found = bench.mesh.submit(app.lenient, count=20, unlucky=[3, 7]).result(timeout=PATIENCE_SECONDS)
    expected: list[object] = [*range(20)]
    for each in (3, 7):
        expected[each] = {"failed": {"type": "ValueError", "message": f"unlucky {each}"}}
    assert found == expected
    run = bench.mesh.submit(app.lenient, count=20, unlucky=[3, 7, 9])
    words = r"as fewer than 18 of its 20 items could succeed: node 'pick\[\d\]': ValueError"
    with pytest.raises(RunFailedError, match=words):
        run.result(timeout=PATIENCE_SECONDS)


@pytest.mark.usefixtures("worker")
def test_at_most_so_many_run_at_once(bench: MeshBench, tmp_path: Path) -> None:
    run = bench.mesh.submit(app.bounded, count=12, path=str(tmp_path / "key"))
    _until(lambda: len(bench.effects("gate")) == 3, "three items run")
    items = _items(bench, run, "gate")
    states = [each.status for each in items.details().nodes]
    assert states.count(NodeState.RUNNING) == 3
    assert states.count(NodeState.WAITING) == 9
    waiting = items.explain("gate[11]").nodes[0]
    assert waiting.needs == ("gate[0]", "gate[1]", "gate[2]")
    (tmp_path / "key").touch()
    assert run.result(timeout=PATIENCE_SECONDS) == [*range(12)]
    running, most = 0, 0
    for effect in sorted(bench.effects(), key=lambda each: each.at):
        running += 1 if effect.word == "gate" else -1
        most = max(most, running)
    assert most == 3


@pytest.mark.usefixtures("worker")
def test_a_slice_is_the_same_in_another_run_where_its_items_are(bench: MeshBench) -> None:
    runs = [bench.mesh.submit(app.sliced, values=[*range(count)]) for count in (100, 101)]
    before, after = [run.result(timeout=PATIENCE_SECONDS) for run in runs]
    assert sorted(each for _, values in before for each in values) == [*range(100)]
    assert max(len(values) for _, values in before) <= 10
    keys = [{key.removeprefix(run.id) for key, _ in found} for run, found in zip(runs, (before, after), strict=True)]
    assert len(keys[0]) == len(before)
    assert len(keys[0] - keys[1]) <= 1


@pytest.mark.usefixtures("worker")
def test_what_cannot_be_mapped_or_kept_fails_the_map(bench: MeshBench) -> None:
    with pytest.raises(RunFailedError, match=r"what its 6 items gave back has more than 1048576 bytes together"):
        bench.mesh.submit(app.too_large).result(timeout=PATIENCE_SECONDS)
    with pytest.raises(RunFailedError, match="the value of 'map' must be a list, not integer"):
        bench.mesh.submit(app.not_a_list).result(timeout=PATIENCE_SECONDS)


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("wish", ["cancel", "terminate"])
def test_the_items_end_with_the_run_that_the_map_is_in(bench: MeshBench, tmp_path: Path, wish: str) -> None:
    run = bench.mesh.submit(app.bounded, count=500, path=str(tmp_path / "key"))
    _until(lambda: len(bench.effects("gate")) == 3, "three items run")
    items = _items(bench, run, "gate")
    assert getattr(run, wish)()
    with pytest.raises(RunCancelledError):
        run.result(timeout=PATIENCE_SECONDS)
    _until(lambda: items.status().ended, "the items end")
    assert len(bench.effects("gate")) == 3


@pytest.mark.usefixtures("worker")
def test_the_items_that_have_succeeded_are_undone_after_one_has_failed(bench: MeshBench) -> None:
    run = bench.mesh.submit(app.booked, count=8, unlucky=5)
    with pytest.raises(RunFailedError):
        run.result(timeout=PATIENCE_SECONDS)
    _until(lambda: _items(bench, run, "book").status() is RunState.COMPENSATED, "the items are undone")
    assert {each.node for each in bench.effects("unbook")} == {f"undo:book[{at}]" for at in range(5)}


@pytest.mark.usefixtures("worker")
def test_the_items_are_undone_with_the_run_that_the_map_is_in(bench: MeshBench, tmp_path: Path) -> None:
    run = bench.mesh.submit(app.booked_before, count=300, path=str(tmp_path / "key"))
    with pytest.raises(RunFailedError):
        run.result(timeout=PATIENCE_SECONDS)
    assert run.status() is RunState.COMPENSATED
    assert {each.node for each in bench.effects("unbook")} == {f"undo:book[{at}]" for at in range(300)}


@pytest.mark.usefixtures("worker")
def test_show_tells_how_far_a_map_is(bench: MeshBench, tmp_path: Path) -> None:
    run = bench.mesh.submit(app.bounded, count=12, path=str(tmp_path / "key"))
    _until(lambda: len(bench.effects("gate")) == 3, "three items run")
    assert _shown(bench, run)["nodes"]["gate"]["items"] == {
        **{"ended": 0, "total": 12, "failed": []},
        **{"states": {"running": 3, "waiting": 9}},
    }
    (tmp_path / "key").touch()
    assert run.result(timeout=PATIENCE_SECONDS) == [*range(12)]


def test_no_item_is_lost_with_a_worker(bench: MeshBench, worker: Worker) -> None:
    run = bench.mesh.submit(app.squares, count=20_000)
    _until(lambda: len(bench.effects("square")) > 500, "some items have run")
    kill9(worker.process.pid)
    for pid in worker.children(EXECUTOR):
        kill9(pid)
    bench.worker(app=APP)
    assert run.result(timeout=2 * PATIENCE_SECONDS) == sum(each * each for each in range(20_000))
    assert len(bench.times_run("square")) == 20_000


EMBEDDED_APP = """
from taskmesh import Mesh

mesh = Mesh()

@mesh.task
def listing(count: int) -> list:
    return list(range(count))

@mesh.task
def check(value: int, at: int) -> int:
    if value == 2:
        raise ValueError("two")
    return value + at
"""

EMBEDDED_FLOW = """
flow: checks
params: {count: integer}
nodes:
  listing: {task: "map_app:listing", args: {count: "${params.count}"}}
  check:
    map: ${nodes.listing.output}
    task: map_app:check
    args: {value: "${item}", at: "${index}"}
    max_in_flight: 2
    on_item_failure: continue
    min_success: 3
"""


def test_a_flow_file_with_a_map_runs_without_servers(shell: Shell) -> None:
    (shell.directory / "map_app.py").write_text(EMBEDDED_APP)
    (shell.directory / "checks.yaml").write_text(EMBEDDED_FLOW)
    run = ("run", "checks.yaml", "-A", "map_app", "-p")
    document = shell.json(*run, "count=5", "--id", "first")
    assert document["result"] == [0, 2, {"failed": {"type": "ValueError", "message": "two"}}, 6, 8]
    failed = [{"item": "check[2]", "type": "ValueError", "message": "two"}]
    items = {"ended": 5, "total": 5, "states": {"succeeded": 4, "failed": 1}, "failed": failed}
    assert document["nodes"]["check"]["items"] == items
    shown = shell("show", "first")
    assert "map map_app:check → run" in shown
    assert "check: 5 items: 4 succeeded, 1 failed\n  check[2]: ValueError: two" in shown
    assert "two" in shell("show", "first", "--node", "check[2]")
    assert "as fewer than 3 of its 3 items could succeed" in shell(*run, "count=3", code=1)
