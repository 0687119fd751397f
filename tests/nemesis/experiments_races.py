"""H: what people and programs do at the same moment."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from taskmesh import RunState
from taskmesh.errors import RunConflictError
from tests.nemesis import app
from tests.nemesis.catalogue import Catalogue
from tests.nemesis.checker import Bounds
from tests.nemesis.figures import Figures
from tests.nemesis.history import Kind
from tests.nemesis.trial import Trial

RUNS = 30

races = Catalogue()


@races.add("H2", "cancel-against-end", tier=1)
def cancel_against_end(trial: Trial) -> Figures:
    """Runs are cancelled at every moment of their lives: each ends exactly one way, and stays so."""
    trial.workers(2)
    trial.watch()
    run_ids = [f"c{number}" for number in range(60)]
    for run_id in run_ids:
        trial.submit_one(app.diamond, run_id, seconds=0.005)
        trial.pause(trial.dice.uniform(0, 0.03))
        trial.mesh.run(trial.dice.choice(run_ids[: run_ids.index(run_id) + 1])).cancel()
        trial.faults += 1
    trial.struck()
    figures = trial.finish(Bounds(cancelled=True))
    states = trial.ledger.states(run_ids)
    assert {RunState.SUCCEEDED, RunState.CANCELLED} == set(states), "the race always ended the same way"
    return figures


@races.add("H7", "one-id-many-submits", tier=1)
def one_id_many_submits(trial: Trial) -> Figures:
    """Fifty submits at once under one id are one run; another body under that id is refused."""
    trial.worker()
    trial.watch()
    for number in range(3):
        run_id = f"same{number}"
        trial.history.note(Kind.INVOKE, [run_id], app.diamond.name)
        with ThreadPoolExecutor(16) as threads:
            made = list(threads.map(lambda _, id_=run_id: trial.mesh.submit(app.diamond, id=id_).id, range(50)))
        assert set(made) == {run_id}
        trial.history.note(Kind.OK, [run_id], app.diamond.name)
        try:
            trial.mesh.submit(app.diamond, id=run_id, seconds=0.5)
        except RunConflictError:
            trial.struck()
        else:
            raise AssertionError("another body was accepted under the same id")
    return trial.finish()


@races.add("H4", "time-limit-against-end", tier=2)
def time_limit_against_end(trial: Trial) -> Figures:
    """Tasks end within a tenth of a second of their time limit: each has succeeded or was too late, and stays so."""
    trial.workers(2)
    trial.watch()
    trial.load(app.brinks, runs=RUNS)
    trial.struck()
    # The executor of a task that is over its time is ended, and with it what else ran there.
    figures = trial.finish(Bounds(undecided=frozenset({app.BRINK}), duplicates_at_most=RUNS * 4))
    states = set(trial.ledger.states(trial.history.accepted))
    assert states == {RunState.SUCCEEDED, RunState.FAILED}, "the race always ended the same way"
    return figures
