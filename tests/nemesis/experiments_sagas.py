"""A13, H1, H5: what was done is undone, whoever dies and whatever fails meanwhile."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from taskmesh import RunState
from tests.nemesis import app
from tests.nemesis.catalogue import Catalogue
from tests.nemesis.checker import Bounds
from tests.nemesis.figures import Figures
from tests.nemesis.injected.crash_points import Trap
from tests.nemesis.trial import Trial
from tests.nemesis.whole_files import write_whole

PER_CRASH = 16
"""Executions that the death of a process may repeat: what its executors run, and what waits to be settled."""

POINTS = ("begun", "effect", "settled", "published", "confirmed")
"""Before an effect and after it; after its end is stored and before what follows is published; before the confirm of
that, and after."""

COMMAND_SECONDS = 60.0

sagas = Catalogue()


@sagas.add("A13", "compensator-death", tier=1)
def compensator_death(trial: Trial) -> Figures:
    """While runs are undone processes die at each point of an undo: before its effect and after it, with its end stored
    and what follows not published, or not confirmed, or not acked. Runs that end well beside them are left alone."""
    forward = trial.worker()
    trial.watch()
    trial.load(app.sagas["last"], app.saga_that_ends_well, runs=20, batch=10, gap_seconds=0, undo_seconds=0.4)
    trial.settle_loads()
    doomed = trial.runs_of(app.sagas["last"])
    trial.wait(lambda: RunState.RUNNING not in trial.ledger.states(doomed), "runs that are being undone")
    # All that is done from here on is undoing.
    trial.kill(forward)
    trial.workers(2, traps=[Trap(point, every=2) for point in POINTS])
    trial.await_crashes(len(POINTS))
    figures = trial.finish(Bounds(duplicates_at_most=(len(POINTS) + 1) * PER_CRASH))
    assert figures.undone == 4 * len(doomed), "not every run was undone"
    return figures


@sagas.add("H1", "saga-everywhere", tier=2)
def saga_everywhere(trial: Trial) -> Figures:
    """Each node of a saga fails in some run, and processes die at each point of nodes and of undos, again and again."""
    times = 4
    trial.workers(3, traps=[Trap(point, every=7, times=times) for point in POINTS])
    trial.watch()
    trial.load(*app.sagas.values(), app.saga_that_ends_well, runs=60, seconds=0.01, undo_seconds=0.02)
    trial.await_crashes(len(POINTS) * times)
    return trial.finish(Bounds(duplicates_at_most=len(POINTS) * times * PER_CRASH))


@sagas.add("H5", "undos-that-fail", tier=2)
def undos_that_fail(trial: Trial) -> Figures:
    """One undo fails for good, another one flaps. The second is tried again by its policy; what the first was holding
    up is visibly left, also when undoing is begun again too early, and undone later, though a worker dies then."""
    _refuse(trial, {"undo:left": 1000, "undo:right": 2})
    doomed_worker, _ = trial.workers(2)
    trial.watch()
    saga = app.sagas["last"]
    trial.load(saga, runs=5, undo_seconds=0.05)
    trial.settle()
    run_ids = trial.runs_of(saga)
    _check_left(trial, run_ids)
    _compensate(trial, run_ids)
    trial.settle()
    _check_left(trial, run_ids)
    _refuse(trial, {})
    _compensate(trial, run_ids)
    trial.kill(doomed_worker)
    trial.settle()
    assert _are(trial, run_ids, RunState.COMPENSATED), "not every run was undone in the end"
    # Of each run: two rounds of three tries of the undo that fails, and two that the flapping one fails.
    tries = 3 * 2 + 2
    return trial.finish(Bounds(duplicates_at_most=len(run_ids) * tries + PER_CRASH))


def _refuse(trial: Trial, attempts: Mapping[str, int]) -> None:
    """Let undos fail for so many attempts."""
    write_whole(app.refusals_file(trial.effects_file), json.dumps(attempts))


def _compensate(trial: Trial, run_ids: Sequence[str]) -> None:
    commands = [trial.command("compensate", run_id) for run_id in run_ids]
    for command in commands:
        assert command.wait(COMMAND_SECONDS) == 0, command.output
    trial.struck()


def _check_left(trial: Trial, run_ids: Sequence[str]) -> None:
    assert _are(trial, run_ids, RunState.COMPENSATION_FAILED), "an undo that fails for good is not told"
    for run_id in run_ids:
        left = trial.mesh.run(run_id).details().left_to_undo
        assert left == ("first", "left"), f"left to undo of {run_id} are {left}"


def _are(trial: Trial, run_ids: Sequence[str], state: RunState) -> bool:
    return bool(run_ids) and set(trial.ledger.states(run_ids)) == {state}
