"""What must hold of runs that were to be undone, when all is over."""

from __future__ import annotations

from taskmesh.dispatch.plan import BEFORE_UNDOS
from taskmesh.dispatch.reopening import descendants
from taskmesh.store.records import RunRecord
from tests.simulation.history import require
from tests.simulation.rules import has_failed
from tests.simulation.works import ALWAYS, PlannedRun
from tests.simulation.world import World


def check_undone(world: World, run: PlannedRun, record: RunRecord) -> bool:
    """Exactly the committed nodes are undone, once somebody has wanted that. Returns whether it had begun."""
    committed = {at for at, node in enumerate(run.plan.flow.nodes) if node.compensation and _ended(record, at)}
    # Also where somebody could take each failure, and the run fails for what could not run after it.
    ends_as = record.summary.halt or (has_failed(run.plan.flow, record) and "failed")
    fails = run.plan.compensates and ends_as == "failed"
    is_wanted = fails or run.run_id in world.history.to_be_undone
    has_begun = BEFORE_UNDOS in record.nodes
    require(has_begun == bool(committed and is_wanted), f"{run.run_id}: undoing has begun: {has_begun}; {committed}")
    _check_never_run(world, run, committed if has_begun else set())
    if has_begun:
        _check_undos(run, record, committed)
    return has_begun


def _check_never_run(world: World, run: PlannedRun, committed: set[int]) -> None:
    for at, node in enumerate(run.plan.flow.nodes):
        times = world.executions.times[run.run_id, f"undo:{node.name}"]
        require(
            not times or at in committed, f"{run.run_id}: node {at} had nothing to undo, and that ran {times} times"
        )


def _check_undos(run: PlannedRun, record: RunRecord, committed: set[int]) -> None:
    count = len(run.plan.flow.nodes)
    undone = {at for at in committed if _ended(record, count + at)}
    for at in range(count):
        _check_undo(run, record, at, at in committed, (descendants(run.plan, [at]) - {at}) & committed <= undone)
    expected = "compensated" if undone == committed else "compensation_failed"
    status = record.summary.status
    require(status == expected, f"{run.run_id} is {status} and not {expected}: {undone} of {committed} are undone")


def _check_undo(run: PlannedRun, record: RunRecord, at: int, is_committed: bool, may_run: bool) -> None:
    """``may_run``: all that came after its node, and was committed, is undone."""
    undo = len(run.plan.flow.nodes) + at
    name, state = f"{run.run_id}/{undo}", record.nodes[undo].state
    expected = {"succeeded", "failed"} if is_committed and may_run else {"skipped"}
    require(state in expected, f"{name} is {state} and not {expected}")
    if state == "succeeded" and run.plan.node(undo).step is None:
        conduct = run.conducts[run.plan.name_of(undo)]
        require(ALWAYS not in (conduct.failures, conduct.crashes), f"{name} succeeded, which it cannot")


def _ended(record: RunRecord, at: int) -> bool:
    return record.nodes[at].state == "succeeded"
