"""What a fork takes over, told from records alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmesh.client.forking import BYTES_PER_SCRIPT, NODES_PER_SCRIPT, ForkWish, _changed, _digest, _slices
from taskmesh.dispatch.entrance import Submission, entrance_of
from taskmesh.dispatch.forking import Inherited, inherited, readers_of
from taskmesh.dispatch.plan import Plan
from taskmesh.model.flow import ALL_PARAMS, Flow, Node, Param, Switch, case_of
from taskmesh.model.states import NodeState
from taskmesh.store.preparations import Inheritance
from taskmesh.store.records import NodeRecord
from tests.contract.store_bench import diamond

A, B, C, D = range(4)


def _record(state: NodeState = NodeState.SUCCEEDED, at: float = 1.0, cause: str = "") -> NodeRecord:
    return NodeRecord(state, 1, 2, 0.0, 0.0, at, "", -1, cause)


def _all(**others: NodeRecord) -> dict[int, NodeRecord]:
    return {A: _record(), B: _record(), C: _record(), D: _record()} | {"abcd".index(at): others[at] for at in others}


@pytest.mark.parametrize(
    ("origins", "kept"), [((), (A, B, C, D)), ((A,), ()), ((B,), (A, C)), ((B, C), (A,)), ((D,), (A, B, C))]
)
def test_what_does_not_depend_on_the_origins_is_taken_over(origins: tuple[int, ...], kept: tuple[int, ...]) -> None:
    assert inherited(diamond(), _all(), origins).nodes == kept


@pytest.mark.parametrize("state", [each for each in NodeState if each is not NodeState.SUCCEEDED])
def test_what_has_not_succeeded_runs_again(state: NodeState) -> None:
    assert inherited(diamond(), _all(d=_record(state)), ()).nodes == (A, B, C)


def test_a_node_that_was_seen_before_its_end_takes_what_needs_it_along() -> None:
    assert inherited(diamond(), _all(a=_record(NodeState.RUNNING)), ()).nodes == ()
    assert inherited(diamond(), {A: _record(), C: _record(), D: _record()}, ()).nodes == (A, C)


def test_what_was_marked_by_hand_stays_so() -> None:
    marked = _record(cause="by somebody: why")
    assert inherited(diamond(), _all(a=_record(NodeState.FAILED), b=marked), ()).nodes == (B,)
    assert inherited(diamond(), _all(b=marked), (A,)).nodes == ()


@given(st.sets(st.integers(0, 40)), st.floats(0, 2e9))
def test_what_is_kept_reads_back(nodes: set[int], as_of: float) -> None:
    taken = Inherited(tuple(sorted(nodes)), as_of)
    assert Inherited.read(taken.packed(41)) == taken


def test_a_node_that_ran_again_is_not_there_any_more() -> None:
    taken = inherited(diamond(), _all(c=_record(at=7.0)), ())
    assert taken.as_of == 7.0
    assert taken.still_has(_record(at=7.0))
    assert not taken.still_has(_record(at=7.1))
    assert not taken.still_has(_record(NodeState.READY))


def test_readers_are_told_from_arguments() -> None:
    nodes = (
        Node("plain", "t"),
        Node("one", "t", {"v": ["${params.p}"]}),
        Node("other", "t", {"v": "${params.q} and ${nodes.one.output}"}, ("one",)),
    )
    plan = Plan.of(Flow("f", "1", nodes, (Param("p"), Param("q"))))
    assert readers_of(plan, ["p"]) == [1]
    assert readers_of(plan, ["q", "p"]) == [1, 2]
    assert readers_of(plan, []) == []
    passing = Plan.of(Flow("f", "1", (Node("a", "t", ALL_PARAMS),)))
    assert readers_of(passing, ["x"]) == [0]
    assert readers_of(passing, []) == []


def test_changed_is_what_a_task_could_tell_apart() -> None:
    before = {"a": 1, "b": {"x": 1, "y": 2}, "gone": None, "same": None}
    assert _changed(before, {"a": True, "b": {"y": 2, "x": 1}, "same": None, "new": 1}) == ["a", "gone", "new"]


def test_the_same_wish_has_the_same_digest_and_no_submission_has_it() -> None:
    wish = ForkWish(("a", "b"), {"p": 1, "q": {"x": 1, "y": 2}})
    assert _digest("r", wish) == _digest("r", ForkWish(("b", "a", "b"), {"q": {"y": 2, "x": 1}, "p": 1}, "id", 5.0))
    others = [_digest("s", wish), _digest("r", ForkWish(("a",), wish.params)), _digest("r", ForkWish(wish.nodes))]
    submitted = entrance_of(diamond(), Submission({}, "r"), 1000).digest
    assert len({_digest("r", wish), *others, submitted}) == 5


@given(st.lists(st.integers(0, BYTES_PER_SCRIPT // 2), max_size=30))
def test_slices_are_bounded_and_lose_nothing(sizes: list[int]) -> None:
    nodes = [Inheritance(at, bytes(size)) for at, size in enumerate(sizes)]
    slices = list(_slices(nodes))
    assert [each for some in slices for each in some] == nodes
    assert all(sum(len(each.output) for each in some) <= BYTES_PER_SCRIPT for some in slices)


def test_a_large_output_goes_alone() -> None:
    large = Inheritance(0, bytes(BYTES_PER_SCRIPT + 1))
    many = [Inheritance(at, b"") for at in range(NODES_PER_SCRIPT + 1)]
    assert [len(some) for some in _slices([large, large, *many])] == [1, 1, NODES_PER_SCRIPT, 1]


def test_what_reads_a_changed_parameter_in_a_condition_runs_again() -> None:
    switch = Switch((case_of("params.q > 1", ("a",)),))
    nodes = (Node("a", "t", when="params.p > 1"), Node("route", "", switch=switch), Node("c", "t"))
    plan = Plan.of(Flow("f", "1", nodes, params=(Param("p"), Param("q"))))
    assert (readers_of(plan, {"p"}), readers_of(plan, {"q"})) == ([0], [1])
