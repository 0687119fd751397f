"""Which copies run again, told from records alone."""

from __future__ import annotations

import pytest

from taskmesh.dispatch.maps.copies_again import copy_resets
from taskmesh.dispatch.plan import Plan
from taskmesh.model.flow import Copies, Flow, Node, OnFailure
from taskmesh.model.states import NodeState
from taskmesh.store.records import BY_HAND, NodeRecord

READY, SUCCEEDED, FAILED, WAITING = NodeState.READY, NodeState.SUCCEEDED, NodeState.FAILED, NodeState.WAITING
BY_LETTER = {"s": SUCCEEDED, "f": FAILED, "c": NodeState.CANCELLED, "r": READY, "w": WAITING, "k": NodeState.SKIPPED}


def _plan(count: int, most: int) -> Plan:
    copies = Copies(Node("n", "t", pool="one"), count, most_at_once=most)
    return Plan.of(Flow("f.n", "1", copies, on_failure=OnFailure.CONTINUE, shard_by="node"))


def _record(state: NodeState, cause: str = "", follows: int | None = None) -> NodeRecord:
    return NodeRecord(state, 1, 2, 1.0, 1.0, 1.0, "", -1, cause, 1.0, 0, 0, 0, follows)


def _resets(
    letters: str, most: int, origin: int | None = None, is_alone: bool = False
) -> tuple[list[str], dict[str, int]]:
    """Each reset as ``PLACE WANTED``, and what follows where that is told."""
    records = {at: _record(BY_LETTER[each]) for at, each in enumerate(letters) if each != "."}
    wishes, further = copy_resets(_plan(len(letters), most), records, origin, is_alone)
    told = [f"{each.node} {each.wanted}" + (f" {each.follows}" if each.follows >= 0 else "") for each in wishes]
    return told, dict(zip(further[::2], further[1::2], strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("letters", "most", "expected", "begun"),
    [
        ("ssfsf", 0, ["2 ready", "4 ready"], {}),
        ("scf..", 0, ["1 ready", "2 ready", "3 ready", "4 ready"], {}),
        ("sskk.", 0, ["2 ready", "3 ready", "4 ready"], {}),
        ("sssss", 0, [], {}),
        ("ffff", 2, ["0 ready", "1 ready", "2 waiting", "3 waiting"], {"begun": 2}),
        ("fsfsf", 1, ["0 ready", "2 waiting 4", "4 waiting"], {"begun": 2}),
        ("fsfs", 1, ["0 ready", "2 waiting 4"], {"begun": 2}),
        ("sf...", 1, ["1 ready"], {"begun": 2}),
        ("fsf.....", 1, ["0 ready", "2 waiting"], {"begun": 2}),
        ("ff...s..", 2, ["0 ready", "1 ready", "4 waiting 6"], {"begun": 2}),
        ("fs", 3, ["0 ready"], {"begun": 2}),
    ],
)
def test_what_has_not_succeeded_runs_again(letters: str, most: int, expected: list[str], begun: dict[str, int]) -> None:
    assert _resets(letters, most) == (expected, begun)


def test_one_runs_again_with_what_has_not_succeeded() -> None:
    assert _resets("sfs", 0, origin=0) == (["0 ready", "1 ready"], {})


def test_one_runs_again_alone() -> None:
    """What has failed stays so, and the run fails for it; what has not come to an end goes on."""
    assert _resets("sffc.", 0, origin=2, is_alone=True) == (
        ["2 ready", "3 ready", "4 ready"],
        {"failed_node": 1},
    )
    assert _resets("sfs", 1, origin=1, is_alone=True) == (["1 ready"], {"begun": 3})


def test_failures_that_stay_are_counted_where_only_so_many_are_tolerated() -> None:
    copies = Copies(Node("n", "t", pool="one"), 4, least=2)
    plan = Plan.of(Flow("f.n", "1", copies, on_failure=OnFailure.CONTINUE, shard_by="node"))
    records = {at: _record(BY_LETTER[each]) for at, each in enumerate("sfff")}
    assert copy_resets(plan, records, 2, True).further == ("failed_node", 1, "failures", 2)
    assert copy_resets(plan, records, None, False).further == ("failures", 0)


def test_what_was_skipped_by_hand_stays_so_only_where_another_runs_alone() -> None:
    records = {0: _record(NodeState.SKIPPED, BY_HAND), 1: _record(FAILED)}
    assert [each.node for each in copy_resets(_plan(2, 0), records, 1, True).wishes] == [1]
    assert [each.node for each in copy_resets(_plan(2, 0), records, None, False).wishes] == [0, 1]


@pytest.mark.parametrize("most", [0, 1, 2, 3])
@pytest.mark.parametrize("letters", ["fsfsf", "ffff.", "fs.cf", "kk...", "sfsfs"])
def test_done_once_there_is_nothing_left_to_do(letters: str, most: int) -> None:
    plan = _plan(len(letters), most)
    records = {at: _record(BY_LETTER[each]) for at, each in enumerate(letters) if each != "."}
    wishes, _ = copy_resets(plan, records, None, False)
    for each in wishes:
        records[each.node] = _record(NodeState(each.wanted), follows=each.follows if each.follows >= 0 else None)
    assert copy_resets(plan, records, None, False).wishes == []
