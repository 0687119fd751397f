"""The workflow patterns of ``configs/flows/patterns``, each run once, and held to the order that it stands for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from taskmesh import Run, load_flow_file
from taskmesh.testing import MeshFactory, VirtualMesh, assert_order, assert_states
from taskmesh.testing.asserts import Step
from workers import patterns

FLOWS = Path(__file__).parents[2] / "configs" / "flows" / "patterns"

Order = tuple[Step, ...]


class Expected(NamedTuple):
    """What becomes of a pattern: orders that hold, how nodes end, and for how many virtual seconds some run.

    ``early`` are pairs of which the first begins before the second has ended. ``steer`` is done after a minute.
    """

    orders: Sequence[Order]
    states: Mapping[str, str] = {}
    params: Mapping[str, Any] = {}
    seconds: Mapping[str, float] = {}
    early: Sequence[tuple[str, str]] = ()
    steer: Callable[[Run], object] | None = None
    status: str = "succeeded"


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
    "09_structured_discriminator": Expected([("a", "fast", "first")], seconds={"slow": 60}, early=[("first", "slow")]),
    "11_implicit_termination": Expected([("a", {"b", "c"}), ("c", "d")], seconds={"b": 60}),
    "12_instances_without_synchronization": Expected(
        [("a", {"instance_1", "instance_2", "next"})],
        seconds={"instance_1": 30, "instance_2": 60},
        early=[("next", "instance_1"), ("next", "instance_2")],
    ),
    "13_instances_known_at_design_time": Expected(
        [("a", {"instance_1", "instance_2", "instance_3"}, "join")], seconds={"instance_2": 60}
    ),
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

    assert names == sorted(EXPECTED)
    assert [name for name in names if f"configs/flows/patterns/{name}.yaml" not in page] == []


@pytest.fixture
def mesh(mesh_factory: MeshFactory) -> VirtualMesh:
    return mesh_factory(patterns.mesh)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_pattern_runs_in_its_order(mesh: VirtualMesh, name: str) -> None:
    expected = EXPECTED[name]
    for node, seconds in expected.seconds.items():
        mesh.stub(patterns.work, node=node, takes=seconds)
    run = mesh.submit(load_flow_file(FLOWS / f"{name}.yaml", mesh.registry), **expected.params)
    if expected.steer is not None:
        mesh.clock.advance(60)
        expected.steer(run)

    assert run.wait() == expected.status
    for order in expected.orders:
        assert_order(run, *order)
    for first, second in expected.early:
        with pytest.raises(AssertionError, match=f"{first} began before {second} had ended"):
            assert_order(run, second, first)
    assert_states(run, expected.states)
