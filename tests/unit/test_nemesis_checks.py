"""What the experiments look for is noticed in runs that were made up: undos that must not be, nodes that are stuck."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from taskmesh.dispatch.plan import BEFORE_UNDOS, Plan
from taskmesh.model.states import NodeState, RunState
from taskmesh.store.records import NodeRecord, RunRecord, RunSummary
from taskmesh.store.remembered import LostAttempt
from taskmesh.wire import pack
from tests.nemesis.app import UNDOES, sagas
from tests.nemesis.effects import BEGIN, END, Effect
from tests.nemesis.lookout import forsaken
from tests.nemesis.snapshot import Snapshot
from tests.nemesis.undos import UndoAudit

PLAN = Plan.of(sagas["last"].compile())
COUNT = len(PLAN.flow.nodes)
ORDER = ("join", "left", "right", "first")
"""In which order a run of the saga that fails at its last node is undone."""

NONE: frozenset[str] = frozenset()


def _node(state: str, spread: int = -1) -> NodeRecord:
    return NodeRecord(NodeState(state), 1, 2, 1.0, 2.0, 3.0, "", spread, "")


def _run(status: RunState, undone: tuple[str, ...], **changes: NodeRecord) -> RunRecord:
    """A run that has failed at its last node; ``changes`` are records of nodes or, as undo_NAME, of undos."""
    names = {PLAN.name_of(place): place for place in range(2 * COUNT)}
    nodes = {place: _node("failed" if place == names["last"] else "succeeded") for place in range(COUNT)}
    nodes |= {names[f"undo:{name}"]: _node("succeeded") for name in undone}
    nodes |= {names[name.replace("undo_", "undo:")]: record for name, record in changes.items()}
    summary = RunSummary("run", PLAN.flow.name, "1", status, "", {}, COUNT, 0, 1.0, 9.0)
    outputs = {names[f"undo:{name}"]: pack(f"undid-{name}") for name in undone}
    return RunRecord(summary, PLAN.hash, b"", names["last"], nodes, outputs)


def _effects(*order: str) -> list[Effect]:
    """Each undo in turn, for a second."""
    return [
        Effect(event, "run", f"undo:{name}", 1, 1, float(at + (event == END)), f"undid-{name}" if event == END else "")
        for at, name in enumerate(order)
        for event in (BEGIN, END)
    ]


def _kinds(record: RunRecord, effects: list[Effect], may_fail: frozenset[str] = NONE) -> set[str]:
    return {sentence.partition(":")[0] for sentence in UndoAudit(record, PLAN, effects, may_fail).violations()}


def test_a_run_that_was_undone_is_right() -> None:
    assert _kinds(_run(RunState.COMPENSATED, ORDER), _effects(*ORDER)) == set()


@pytest.mark.parametrize(
    ("record", "order", "kind"),
    [
        (_run(RunState.COMPENSATED, ORDER[:3]), ORDER[:3], "I7 exact"),
        (_run(RunState.COMPENSATED, ORDER), (*ORDER, "last"), "I7 surplus"),
        (_run(RunState.SUCCEEDED, (), last=_node("succeeded")), ("last",), "I7 surplus"),
        (_run(RunState.FAILED, ()), (), "I7 forgotten"),
        (_run(RunState.COMPENSATED, ORDER), ("join", "first", "left", "right"), "I7 order"),
        (_run(RunState.COMPENSATION_FAILED, ORDER[:1], undo_left=_node("failed")), ORDER[:1], "I7 failed"),
    ],
)
def test_an_undo_that_must_not_be_is_noticed(record: RunRecord, order: tuple[str, ...], kind: str) -> None:
    assert _kinds(record, _effects(*order)) == {kind}


def test_an_undo_that_was_recorded_is_not_begun_again() -> None:
    again = LostAttempt(9.0, PLAN.undo_of(0), "ready", "reset", 1, "", 1.0, 2.0, "", "succeeded", 3.0)
    record = replace(_run(RunState.COMPENSATED, ORDER), history=(again,))
    assert _kinds(record, _effects(*ORDER)) == {"I7 once"}


def test_an_undo_that_may_fail_excuses_what_waits_behind_it() -> None:
    blocked = {"undo_left": _node("failed"), "undo_first": _node("skipped")}
    record = _run(RunState.COMPENSATION_FAILED, ("join", "right"), **blocked)
    assert _kinds(record, _effects("join", "right"), frozenset({UNDOES})) == set()
    surplus = _run(RunState.COMPENSATION_FAILED, ("join",), **blocked)
    assert _kinds(surplus, _effects("join"), frozenset({UNDOES})) == {"I7 failed"}


def _sight(status: str, records: Mapping[int, NodeRecord], due: set[int], **changes: object) -> list[str]:
    snapshot = Snapshot("run", PLAN, 5.0, status, "", False, records, frozenset(due), {}, {})
    return [each.name for each in forsaken(replace(snapshot, **changes))]


@pytest.mark.parametrize("state", ["ready", "running", "retrying"])
def test_a_node_that_is_nowhere_is_stuck(state: str) -> None:
    assert _sight("running", {0: _node(state)}, {0}) == []
    assert _sight("running", {0: _node(state)}, set()) == ["first"]


def test_a_timer_brings_a_node_on() -> None:
    assert _sight("running", {0: _node("retrying")}, set(), timers={0: 9.0}) == []


def test_an_end_that_nobody_will_tell_is_stuck() -> None:
    ended = {0: _node("succeeded", spread=1)}
    assert _sight("running", ended, {0}) == []
    assert "first" in _sight("running", ended, set())


def test_undos_that_nobody_will_tell_are_stuck() -> None:
    nodes = {place: _node("succeeded") for place in range(COUNT)}
    assert _sight("compensating", {**nodes, BEFORE_UNDOS: _node("succeeded", spread=0)}, {BEFORE_UNDOS}) == []
    told = _sight("compensating", {**nodes, BEFORE_UNDOS: _node("succeeded")}, set())
    assert told == ["undo:last"], "only the one that everything waits for"
