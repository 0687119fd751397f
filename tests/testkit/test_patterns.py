"""The workflow patterns of ``configs/flows/patterns``, each run once, and held to the order that it stands for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from taskmesh import Run, load_flow_file
from taskmesh.model.subflows import references_of
from taskmesh.testing import MeshFactory, VirtualMesh, assert_order, assert_states
from taskmesh.testing.asserts import Step
from workers import patterns

FLOWS = Path(__file__).parents[2] / "configs" / "flows" / "patterns"

DAY_SECONDS = 86_400

Order = tuple[Step, ...]


class Expected(NamedTuple):
    """What becomes of a pattern: orders that hold, how nodes end, and for how many virtual seconds some run.

    ``early`` are pairs of which the first begins before the second has ended. ``calls`` are the nodes of all calls, in
    the order in which they ended, those in child runs, too; ``gives`` is what some nodes give, call by call. ``steer``
    is done after ``steer_seconds``. ``events`` are types, each to be published so long after the one before, while the
    run goes on.
    """

    orders: Sequence[Order]
    states: Mapping[str, str] = {}
    params: Mapping[str, Any] = {}
    seconds: Mapping[str, float] = {}
    early: Sequence[tuple[str, str]] = ()
    steer: Callable[[Run], object] | None = None
    steer_seconds: float = 60
    status: str = "succeeded"
    calls: Sequence[str] = ()
    gives: Mapping[str, Sequence[Any]] = {}
    events: Sequence[tuple[float, str]] = ()


BRANCHES = {"fragile": True, "abroad": True}

EXPECTED = {
    "01_sequence": Expected([("a", "b", "c")]),
    "02_parallel_split": Expected([("a", {"b", "c"})], seconds={"b": 9, "c": 9}, early=[("b", "c"), ("c", "b")]),
    "03_synchronization": Expected([("a", {"b", "c"}, "join")], seconds={"b": 10, "c": 20}),
    "04_exclusive_choice": Expected(
        [("a", "choice", "usual")], {"large": "skipped", "usual": "succeeded", "small": "skipped"}, {"amount": 500}
    ),
    "05_simple_merge": Expected(
        [("choice", "charge", "merge")], {"charge": "succeeded", "invoice": "skipped"}, {"card": True}
    ),
    "06_multi_choice": Expected(
        [("a", {"pad", "declare"})], {"pad": "succeeded", "declare": "succeeded", "wrap": "skipped"}, BRANCHES
    ),
    "07_structured_synchronizing_merge": Expected(
        [("a", {"pad", "declare"}, "merge")], {"wrap": "skipped"}, BRANCHES, {"pad": 10, "declare": 20}
    ),
    "08_multi_merge": Expected(
        [("a", "b", "merge_of_b"), ("c", "merge_of_c")],
        seconds={"b": 10, "c": 60},
        early=[("merge_of_b", "c")],
        calls=["a", "b", "d", "e", "c", "d", "e"],
    ),
    "09_structured_discriminator": Expected([("a", "fast", "first")], seconds={"slow": 60}, early=[("first", "slow")]),
    "10_arbitrary_cycles": Expected(
        [("a", "cycles", "b")],
        gives={"review": ["write", "print", "print"], "print": ["review", "end"]},
        calls=["a", "write", "review", "write", "review", "print", "review", "print", "b"],
    ),
    "11_implicit_termination": Expected([("a", {"b", "c"}), ("c", "d")], seconds={"b": 60}),
    "12_instances_without_synchronization": Expected(
        [("a", {"instance_1", "instance_2", "next"})],
        seconds={"instance_1": 30, "instance_2": 60},
        early=[("next", "instance_1"), ("next", "instance_2")],
    ),
    "13_instances_known_at_design_time": Expected(
        [("a", {"instance_1", "instance_2", "instance_3"}, "join")], seconds={"instance_2": 60}
    ),
    "14_instances_known_at_run_time": Expected(
        [("a", "instance", "join")],
        seconds={"instance[1]": 60},
        calls=["a", "instance[0]", "instance[2]", "instance[1]", "join"],
    ),
    "15_instances_not_known_before": Expected(
        [("more", "others", "join"), ("instance", "join")],
        seconds={"more": 10, "instance": 60},
        gives={"more": [True, True, False]},
        early=[("others", "instance")],
        calls=[*["more"] * 3, *["instance"] * 3, "join"],
    ),
    "16_deferred_choice": Expected(
        [("a", "offer", "choice", "accept")],
        {"accept": "succeeded", "decline": "skipped", "lapse": "skipped"},
        steer=lambda run: run.signal("offer", "accept"),
    ),
    "17_interleaved_parallel_routing": Expected(
        [("order", "each", "join")],
        seconds={"scan": 60, "blood": 30, "result": 10},
        gives={"order": [["scan", "blood", "result"]]},
        calls=["order", "scan", "blood", "result", "join"],
    ),
    "18_milestone": Expected(
        [("open", "change"), ("closed", "ship")],
        {"change": "succeeded"},
        steer=lambda run: run.signal("wish"),
        calls=["open", "change", "ship"],
    ),
    "18_milestone, not reached yet": Expected(
        [({"wish", "open"}, "change"), ("closed", "ship")],
        {"change": "succeeded"},
        seconds={"open": 3600},
        steer=lambda run: run.signal("wish"),
        calls=["open", "change", "ship"],
    ),
    "18_milestone, over": Expected(
        [("closed", "ship")],
        {"wish": "succeeded", "change": "skipped"},
        steer=lambda run: run.signal("wish"),
        steer_seconds=2 * DAY_SECONDS,
        calls=["open", "ship"],
    ),
    "21_structured_loop": Expected([("a", "loop", "b")]),
    "23_transient_trigger": Expected(
        [("a", "go", "b")], seconds={"a": 120}, events=[(60, "door.opened"), (120, "door.opened")]
    ),
    "24_persistent_trigger": Expected([("a", "go", "b")], seconds={"a": 120}, steer=lambda run: run.signal("go")),
    "19_cancel_task": Expected(
        [("a", "b", "c")], {"b": "skipped", "c": "succeeded"}, seconds={"b": math.inf}, steer=lambda run: run.skip("b")
    ),
    "20_cancel_case": Expected(
        [("a", "b")],
        {"b": "cancelled", "c": "skipped"},
        seconds={"b": math.inf},
        steer=lambda run: run.cancel(),
        status="cancelled",
    ),
    "30_structured_partial_join": Expected(
        [("a", {"b", "c"}, "quorum")], seconds={"b": 10, "c": 20, "d": 60}, early=[("quorum", "d")]
    ),
}


def test_each_pattern_has_a_test_and_a_row_in_the_documentation() -> None:
    names = sorted(path.stem for path in FLOWS.iterdir())
    page = (FLOWS.parents[2] / "docs" / "flows.md").read_text()

    assert names == sorted({_file_of(name) for name in EXPECTED})
    assert [name for name in names if f"configs/flows/patterns/{name}.yaml" not in page] == []


@pytest.fixture
def mesh(mesh_factory: MeshFactory) -> VirtualMesh:
    return mesh_factory(patterns.mesh)


def _file_of(name: str) -> str:
    return name.partition(",")[0]


def _stub(mesh: VirtualMesh, expected: Expected) -> None:
    for node in {*expected.seconds, *expected.gives}:
        takes = expected.seconds.get(node, 0.0)
        if node in expected.gives:
            outputs = iter(expected.gives[node])
            mesh.stub(
                patterns.work, node=node, takes=takes, side_effect=lambda gives=None, outputs=outputs: next(outputs)
            )
        else:
            mesh.stub(patterns.work, node=node, takes=takes)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_pattern_runs_in_its_order(mesh: VirtualMesh, name: str) -> None:
    expected = EXPECTED[name]
    _stub(mesh, expected)
    flow = load_flow_file(FLOWS / f"{_file_of(name)}.yaml", mesh.registry)
    if flow.name in references_of(flow):  # it begins itself, by its name
        mesh.flows.push(flow, activate=True)
    run = mesh.submit(flow, **expected.params)
    if expected.steer is not None:
        mesh.clock.advance(expected.steer_seconds)
        expected.steer(run)
    for seconds, event in expected.events:
        mesh.clock.advance(seconds)
        assert run.status() == "running"
        mesh.publish_event(event)

    assert run.wait() == expected.status
    for order in expected.orders:
        assert_order(run, *order)
    for first, second in expected.early:
        with pytest.raises(AssertionError, match=f"{first} began before {second} had ended"):
            assert_order(run, second, first)
    assert_states(run, expected.states)
    if expected.calls:
        assert [call.node for call in mesh.calls(patterns.work)] == expected.calls
