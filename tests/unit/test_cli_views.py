"""What the command line shows of a run: its progress, its picture, its end."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from taskmesh.cli.fan_outs import LOOK_SECONDS, FanOuts
from taskmesh.cli.item_lines import item_lines
from taskmesh.cli.live import follow
from taskmesh.cli.output import duration_text, json_text, run_document, shortened
from taskmesh.cli.picture import MAX_NODES_DRAWN, MAX_ROWS, Picture
from taskmesh.cli.progress import Progress, levels_of
from taskmesh.cli.summary import MAX_PATH, print_summary
from taskmesh.cli.telling import print_history
from taskmesh.client.counting import Counted, FailedItem
from taskmesh.client.details import NodeDetails, RunDetails, RunEvent
from taskmesh.clock import Clock, ManualClock
from taskmesh.errors import StoreUnavailableError
from taskmesh.model.states import NodeState, RunState
from taskmesh.store.family import Parent

START = 1_000_000.0


def run_of(needs: dict[str, tuple[str, ...]], task: str = "app:step") -> RunDetails:
    nodes = tuple(NodeDetails(name, task, NodeState.WAITING, parents) for name, parents in needs.items())
    return RunDetails("r-1", "some-flow", "3", RunState.RUNNING, START, None, None, nodes=nodes)


DIAMOND: dict[str, tuple[str, ...]] = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}


def event(node: str, state: str, at: float = 0.0, attempt: int = 1) -> RunEvent:
    return RunEvent("node", node, state, START + at, attempt, "w-1")


def ended(details: RunDetails, status: RunState, **seconds: float) -> RunDetails:
    """The run at its end, each node of ``seconds`` having taken that long, one after the other."""
    nodes, at = [], START
    for node in details.nodes:
        if node.name not in seconds:
            nodes.append(replace(node, status=NodeState.SKIPPED))
            continue
        until = at + seconds[node.name]
        done = replace(node, status=NodeState.SUCCEEDED, attempts=1, started_at=at, finished_at=until, output=1)
        nodes.append(done)
        at = until
    return replace(details, status=status, nodes=tuple(nodes), started_at=START, finished_at=at)


def states(progress: Progress) -> dict[str, str]:
    return {name: str(node.state) for name, node in progress.nodes.items()}


def drawn(renderable: Any, width: int = 100) -> str:
    out = Console(file=io.StringIO(), width=width, highlight=False, markup=False)
    out.print(renderable)
    text: str = out.file.getvalue()
    return text


def picture(progress: Progress, clock: Clock, counts: Mapping[str, Counted] | None = None) -> Picture:
    return Picture(progress, clock, FanOuts(lambda children: dict(counts or {}), clock))


class FakeRun:
    """Plays events of a run back."""

    def __init__(self, first: RunDetails, events: Sequence[RunEvent], last: RunDetails) -> None:
        self.id = first.run_id
        self._details = [first, last]
        self._events = events

    def details(self, *, fetch_outputs: bool) -> RunDetails:
        return self._details.pop(0)

    def watch(self) -> Iterator[RunEvent]:
        return iter(self._events)

    def counted(self, children: Sequence[str]) -> dict[str, Counted]:
        return {}


def test_the_picture_shows_how_far_the_items_of_a_map_are() -> None:
    progress = Progress(run_of(DIAMOND))
    progress.apply(replace(event("a", "retrying"), cause="run:r-2"))
    clock = ManualClock(START)
    text = drawn(picture(progress, clock, {"r-2": Counted(53_210, 100_000)}))
    assert "53,210/100,000 a" in text
    progress.apply(event("a", "succeeded", 3))
    assert "100,000" not in drawn(picture(progress, clock, {"r-2": Counted(100_000, 100_000)}))


def test_the_items_of_a_map_are_counted_and_the_first_that_failed_are_named() -> None:
    failed = tuple(FailedItem(f"cut[{at}]", "ValueError", "bad " * 100) for at in range(2))
    items = Counted(8, 9, {"failed": 3, "succeeded": 5, "waiting": 1}, failed)
    node = NodeDetails("cut", "map w:cut", NodeState.RETRYING, (), child="c1", items=items)
    lines = [*item_lines([node, NodeDetails("plain", "w:x", NodeState.READY, ())])]
    assert lines[0] == "cut: 9 items: 1 waiting, 5 succeeded, 3 failed"
    assert lines[1].startswith("  cut[0]: ValueError: bad bad")
    assert len(lines[1]) < 230
    assert lines[3:] == ["  and 1 more have failed; `taskmesh show c1` has them all"]


def test_the_counts_of_maps_are_asked_for_now_and_then_and_kept_meanwhile() -> None:
    clock, asked = ManualClock(START), list[str]()

    def ask(children: Sequence[str]) -> dict[str, Counted]:
        asked.extend(children)
        if len(asked) == 2:
            raise StoreUnavailableError("it is away")
        return {children[0]: Counted(len(asked), 9)}

    fan_outs = FanOuts(ask, clock)
    assert fan_outs.of(["r-2"]) == fan_outs.of(["r-2"]) == {"r-2": Counted(1, 9)}
    for expected in (1, 3):
        clock.advance(LOOK_SECONDS)
        assert fan_outs.of(["r-2"]) == {"r-2": Counted(expected, 9)}


def test_levels_are_the_longest_ways() -> None:
    assert levels_of([(), (0,), (0,), (1, 2), (0, 3)]) == [1, 2, 2, 3, 4]


def test_a_node_becomes_ready_when_all_that_it_needs_succeeded() -> None:
    progress = Progress(run_of(DIAMOND))
    assert states(progress) == {"a": "ready", "b": "waiting", "c": "waiting", "d": "waiting"}

    for name in ("a", "b"):
        progress.apply(event(name, "running"))
        progress.apply(event(name, "succeeded"))
    assert states(progress) == {"a": "succeeded", "b": "succeeded", "c": "ready", "d": "waiting"}

    progress.apply(event("c", "succeeded"))
    assert states(progress)["d"] == "ready"
    assert (progress.ended, progress.total) == (3, 4)


def test_an_event_that_comes_twice_or_late_changes_nothing() -> None:
    progress = Progress(run_of(DIAMOND))

    assert progress.apply(event("a", "running", 1))
    assert not progress.apply(event("a", "running", 2))
    assert progress.apply(event("a", "succeeded", 3))
    assert not progress.apply(event("a", "running", 4))
    assert (progress.nodes["a"].started_at, progress.nodes["a"].finished_at) == (START + 1, START + 3)
    assert progress.states[NodeState.SUCCEEDED] == 1
    assert progress.running == {}


def test_at_the_end_of_a_run_nothing_waits() -> None:
    progress = Progress(run_of(DIAMOND))
    progress.apply(event("a", "failed"))
    progress.apply(RunEvent("run", None, "failed", START + 5))

    assert states(progress) == {"a": "failed", "b": "skipped", "c": "skipped", "d": "skipped"}
    assert (progress.status, progress.finished_at) == (RunState.FAILED, START + 5)


def test_the_picture_shows_levels_states_and_how_long_nodes_run() -> None:
    progress = Progress(run_of(DIAMOND))
    progress.apply(event("a", "succeeded", 1))
    progress.apply(event("b", "running", 1))
    clock = ManualClock(START + 3.5)

    lines = drawn(picture(progress, clock)).splitlines()
    assert lines[0].split() == ["some-flow", "3", "run", "r-1", "running"]
    assert lines[1].split() == ["1", "✔", "a"]
    assert lines[2].split() == ["2", "●", "b", "2.5", "s", "○", "c"]
    assert lines[3].split() == ["3", "·", "d"]
    assert "1/4 nodes" in lines[4]
    assert "3.5 s" in lines[4]


def test_the_picture_of_a_wide_run_counts_nodes_by_level_and_task() -> None:
    leaves = {f"leaf{number}": ("root",) for number in range(MAX_NODES_DRAWN)}
    progress = Progress(run_of({"root": (), **leaves}))
    progress.apply(event("root", "succeeded", 1))
    progress.apply(event("leaf7", "running", 2))
    progress.apply(event("leaf8", "failed", 2))

    text = drawn(picture(progress, ManualClock(START + 4)))
    assert f"1/{MAX_NODES_DRAWN}" in text
    assert "● 1" in text
    assert "✘ 1" in text
    assert "1 running: leaf7 2.0 s" in text


def test_rows_where_something_goes_on_are_drawn_first() -> None:
    chain: dict[str, tuple[str, ...]] = {"n0": ()}
    for number in range(1, 100):
        chain[f"n{number}"] = (f"n{number - 1}",)
    progress = Progress(run_of(chain))
    for number in range(90):
        progress.apply(event(f"n{number}", "succeeded"))
    progress.apply(event("n90", "running"))

    lines = drawn(picture(progress, ManualClock(START))).splitlines()
    assert f"and {100 - MAX_ROWS} more rows" in "\n".join(lines)
    assert any(line.split()[:2] == ["91", "app:step"] for line in lines)


def test_without_a_terminal_each_event_is_a_line() -> None:
    first = run_of(DIAMOND)
    events = [event("a", "running", 1), event("a", "running", 1), event("a", "succeeded", 1.25, attempt=2)]
    run = FakeRun(first, [*events, RunEvent("run", None, "succeeded", START + 2)], first)
    out = Console(file=io.StringIO(), width=200, force_terminal=False)

    follow(run, out)

    lines = [line.split("  ", 1)[-1] for line in out.file.getvalue().splitlines()]
    assert lines == [
        "run r-1: some-flow 3, 4 nodes",
        "● a running",
        "✔ a succeeded, 250 ms, attempt 2",
        "the run has succeeded",
    ]


def test_on_a_terminal_the_last_picture_stays() -> None:
    first = run_of({"a": ()})
    events = [event("a", "succeeded", 1), RunEvent("run", None, "succeeded", START + 1)]
    out = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None, legacy_windows=False)

    follow(FakeRun(first, events, first), out)

    assert "1/1 nodes" in out.file.getvalue()


def summary_of(details: RunDetails) -> str:
    out = Console(file=io.StringIO(), width=400, highlight=False, markup=False)
    print_summary(details, out)
    text: str = out.file.getvalue()
    return text


def test_the_summary_tells_the_slowest_nodes_and_the_critical_path() -> None:
    text = summary_of(ended(run_of(DIAMOND), RunState.SUCCEEDED, a=0.1, b=0.2, c=2.0, d=0.3))

    assert "succeeded  some-flow 3, run r-1: 4 of 4 nodes in 2.6 s, 2 nodes/s" in text
    assert "critical path 2.4 s: a 100 ms → c 2.0 s → d 300 ms" in text
    rows = [line.split()[0] for line in text.splitlines()]
    assert rows[rows.index("slowest") + 1] == "c"


def test_the_summary_shortens_a_long_path() -> None:
    names = [f"n{number}" for number in range(40)]
    chain = {name: (names[position - 1],) if position else () for position, name in enumerate(names)}
    text = summary_of(ended(run_of(chain), RunState.SUCCEEDED, **dict.fromkeys(names, 0.1)))

    assert f"({40 - MAX_PATH} more)" in text


def test_the_summary_tells_what_failed_and_what_did_not_run() -> None:
    details = ended(run_of(DIAMOND), RunState.FAILED, a=0.1)
    failed = replace(
        details.nodes[1], status=NodeState.FAILED, error={"type": "ValueError", "message": "too\n[bold] many"}
    )
    text = summary_of(replace(details, nodes=(details.nodes[0], failed, *details.nodes[2:])))

    assert "✘ b: ValueError: too [bold] many" in text
    assert "2 nodes did not run" in text


def test_the_summary_tells_what_earlier_attempts_said() -> None:
    details = ended(run_of({"a": ()}), RunState.SUCCEEDED, a=1.0)
    error = {"type": "ConnectionError", "message": "refused", "traceback": ""}
    nodes = tuple(replace(node, attempts=3, last_error=error) for node in details.nodes)
    assert "↻ a, 3 attempts: ConnectionError: refused" in summary_of(replace(details, nodes=nodes))
    assert run_document(replace(details, nodes=nodes))["nodes"]["a"]["last_error"] == error


def test_a_run_and_its_children_name_each_other() -> None:
    details = ended(run_of({"a": ()}), RunState.SUCCEEDED, a=1.0)
    nodes = tuple(replace(node, child="r9") for node in details.nodes)
    parent = Parent("r0", 2, "begins", "r-1", 2, "default")
    document = run_document(replace(details, nodes=nodes, parent=parent))
    assert document["parent"] == {"run_id": "r0", "node": "begins"}
    assert document["nodes"]["a"]["child"] == "r9"


def test_the_document_of_a_run_has_the_documented_keys() -> None:
    document = run_document(ended(run_of({"a": ()}), RunState.SUCCEEDED, a=1.0))

    nodes = document.pop("nodes")
    assert document == {
        "run_id": "r-1",
        "flow": "some-flow",
        "version": "3",
        "status": "succeeded",
        "submitted_at": START,
        "started_at": START,
        "finished_at": START + 1,
    }
    assert nodes == {
        "a": {
            "status": "succeeded",
            "task": "app:step",
            "attempts": 1,
            "started_at": START,
            "finished_at": START + 1,
            "worker": None,
            "output": 1,
            "error": None,
        }
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"\x00\xff", {"$bytes": "AP8="}),
        ({"deep": [{1, 2}]}, {"deep": [[1, 2]]}),
        ({b"key": 1, "nan": float("nan")}, {"b'key'": 1, "nan": "nan"}),
    ],
)
def test_any_output_has_a_form_in_json(value: Any, expected: Any) -> None:
    assert json.loads(json_text(value)) == expected


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.0, "0 ms"), (0.0123, "12 ms"), (0.9996, "1.0 s"), (61.5, "1 min 01 s"), (7380, "2 h 03 min")],
)
def test_durations_are_said_as_people_say_them(seconds: float | None, text: str) -> None:
    assert duration_text(seconds) == text


def test_texts_are_shortened_to_one_line() -> None:
    assert shortened("a\nb  c", 10) == "a b c"
    assert shortened("abcdef", 4) == "abc…"


def test_a_node_that_waits_for_a_run_says_so_in_words() -> None:
    out = Console(file=io.StringIO(), width=200, record=True)
    print_history([replace(event("a", "retrying"), cause="run:r-2"), replace(event("a", "ready"), cause="woken")], out)
    shown = out.export_text()
    assert "waits for run r-2" in shown
    assert "run:r-2" not in shown
    assert "woken" in shown
