"""H10: what a dependency that is away costs, with many workers that would all try it."""

from __future__ import annotations

from itertools import pairwise

from taskmesh import BreakerState
from tests.nemesis import app
from tests.nemesis.catalogue import Catalogue
from tests.nemesis.checker import Bounds
from tests.nemesis.effects import BEGIN
from tests.nemesis.figures import Figures
from tests.nemesis.trial import Trial

WORKERS, EXECUTORS, RUNS, WINDOWS = 4, 2, 300, 3

IN_FLIGHT = 8
"""Nodes that an executor with one thread may have been handed, so that it never waits for the next."""

EARLY = 0.95
"""A probe may come this much of the reset time after the one before: both are measured in the tasks."""

breakers = Catalogue()


@breakers.add("H10", "breaker-storm", tier=2)
def breaker_storm(trial: Trial) -> Figures:
    """The dependency of many nodes is away: it costs few calls until the breaker is open for all workers, and one probe
    in each reset time after that. Redis loses the breaker's key, which closes it: it is open again as soon."""
    trial.workers(WORKERS)
    outage = app.outage_file(trial.effects_file)
    outage.touch()
    trial.load(app.uses, runs=RUNS, batch=50, gap_seconds=0.0)
    trial.struck()
    _see_it_open(trial, calls_before=0)
    calls = len(trial.effects(BEGIN))
    trial.ledger.ask("DEL", trial.ledger.keys.breaker(app.DEPENDENCY))
    trial.struck()
    trial.wait(lambda: len(trial.effects(BEGIN)) > calls, "calls through the breaker that Redis has forgotten")
    _see_it_open(trial, calls)
    outage.unlink()
    trial.struck()
    figures = trial.finish(Bounds(duplicates_at_most=2 * (_cost() + WINDOWS + 1)))
    assert figures.ended == RUNS
    return figures


def _cost() -> int:
    """Calls until a breaker is open everywhere, at most."""
    return app.FAILURES + IN_FLIGHT * EXECUTORS * WORKERS


def _see_it_open(trial: Trial, calls_before: int) -> None:
    """It opens after few calls, and each reset time has one probe then."""
    trial.wait(lambda: any(each.state is BreakerState.OPEN for each in trial.mesh.breakers.ls()), "open breaker")
    trial.pause(app.RESET_SECONDS / 2)
    begun = len(trial.effects(BEGIN))
    assert begun - calls_before <= _cost(), f"{begun - calls_before} calls until it was open; {_cost()} are explained"
    trial.await_effects(begun + WINDOWS, BEGIN)
    probes = sorted(effect.at for effect in trial.effects(BEGIN)[begun:])
    early = [later - earlier for earlier, later in pairwise(probes) if later - earlier < EARLY * app.RESET_SECONDS]
    assert not early, f"probes followed each other after {early} s; the reset time is {app.RESET_SECONDS:g} s"
