"""What runs again when a run goes on after its end, told from records alone."""

from __future__ import annotations

import pytest

from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.reopening import resets
from taskmesh.model.flow import Node
from taskmesh.model.states import NodeState
from taskmesh.model.triggers import Rule, Trigger
from taskmesh.store.records import BY_HAND, INHERITED, NodeRecord
from tests.contract.store_bench import plan_of

SUCCEEDED, FAILED, SKIPPED = NodeState.SUCCEEDED, NodeState.FAILED, NodeState.SKIPPED
LOST = NodeState.UPSTREAM_FAILED

JOIN = plan_of(
    Node("a", "t"),
    Node("b", "t"),
    Node("all", "t", needs=("a", "b")),
    Node("join", "t", needs=("a", "b"), trigger=Trigger(Rule.ALL_DONE)),
)
MENDED = plan_of(
    Node("a", "t"),
    Node("mend", "t", needs=("a",), trigger=Trigger(Rule.ANY_FAILED)),
    Node("after", "t", needs=("mend",)),
)


def _wanted(plan: Plan, *states: NodeState | None, origin: str = "") -> dict[str, tuple[str, int, int]]:
    """For each node that is reset, by the states of all: what it becomes, and what it counts."""
    records = {
        at: NodeRecord(state, 1, 2, 0.0, 0.0, 1.0, "", -1, "needs:0" if state in (SKIPPED, LOST) else "")
        for at, state in enumerate(states)
        if state
    }
    start = plan.graph.index[origin] if origin else None
    return {
        plan.name_of(each.node): (each.wanted, each.arrived, each.skipped)
        for each in resets(plan, records, {}, start, {})
    }


def test_what_failed_runs_again_with_all_that_came_of_it() -> None:
    """Also what has succeeded after the failure: it may have another reason to run, or none, the next time."""
    assert _wanted(MENDED, FAILED, SUCCEEDED, SUCCEEDED) == {
        "a": ("ready", -1, -1),
        "mend": ("waiting", 0, 0),
        "after": ("waiting", -1, -1),
    }


def test_what_was_not_to_run_stays_so_and_counts() -> None:
    assert _wanted(JOIN, FAILED, SKIPPED, SKIPPED, SUCCEEDED) == {
        "a": ("ready", -1, -1),
        "join": ("waiting", 0, 1),
    }


def test_what_could_not_run_for_a_failure_and_cannot_anyway_is_skipped() -> None:
    assert _wanted(JOIN, FAILED, SKIPPED, LOST, SUCCEEDED) == {
        "a": ("ready", -1, -1),
        "all": ("skipped", 0, -1),
        "join": ("waiting", 0, 1),
    }


def test_what_can_begin_by_what_stays_is_ready() -> None:
    plan = plan_of(Node("a", "t"), Node("b", "t"), Node("x", "t", needs=("a", "b"), trigger=Trigger(Rule.ANY_SUCCESS)))
    assert _wanted(plan, SUCCEEDED, FAILED, FAILED) == {"b": ("ready", -1, -1), "x": ("ready", 1, 0)}


def test_a_node_that_was_skipped_runs_where_somebody_wants_it_to() -> None:
    assert _wanted(MENDED, SUCCEEDED, SKIPPED, SKIPPED, origin="mend") == {
        "mend": ("ready", 1, 0),
        "after": ("waiting", -1, -1),
    }


def test_in_a_fork_what_cannot_run_by_what_is_taken_over_is_skipped() -> None:
    assert _wanted(MENDED, SUCCEEDED, None, None) == {"mend": ("skipped", 1, 0), "after": ("skipped", -1, -1)}


@pytest.mark.parametrize("kept", [SUCCEEDED, SKIPPED])
def test_an_expression_goes_by_what_stays(kept: NodeState) -> None:
    needs = Trigger(depends="a.skipped || b.succeeded")
    plan = plan_of(Node("a", "t"), Node("b", "t"), Node("x", "t", needs=("a", "b"), trigger=needs))
    ready = "ready" if kept is SKIPPED else "waiting"
    assert _wanted(plan, kept, FAILED, LOST)["x"] == (ready, -1, -1)


@pytest.mark.parametrize("cause", [f"{BY_HAND}ann", INHERITED])
@pytest.mark.parametrize("plan", [MENDED, JOIN], ids=["by a rule", "plain"])
def test_what_was_marked_by_hand_stays_so_unless_it_is_wanted_again(plan: Plan, cause: str) -> None:
    last = len(plan.flow.nodes) - 1
    records = {0: NodeRecord(FAILED, 1, 2, 0.0, 0.0, 1.0, "", -1, "")}
    records[last] = NodeRecord(SUCCEEDED, 0, 1, 0.0, 0.0, 1.0, "", -1, cause)
    assert last not in [each.node for each in resets(plan, records, {}, None, {})]
    assert last in [each.node for each in resets(plan, records, {}, 0, {})]
