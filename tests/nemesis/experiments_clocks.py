"""B7: the clock that all leases and timers are in is set wrong, and right again."""

from __future__ import annotations

from tests.harness.redis import bundled_valkey
from tests.nemesis import app
from tests.nemesis.catalogue import Catalogue
from tests.nemesis.checker import Bounds
from tests.nemesis.effects import BEGIN
from tests.nemesis.figures import Figures
from tests.nemesis.recovery import LEASE_SECONDS
from tests.nemesis.shifted_clock import ShiftedClock
from tests.nemesis.trial import Trial

HOUR_SECONDS = 3600
RUNS = 60
REPEATED = 64
"""Executions that may be repeated when every lease is over at once: all that runs, once for each jump."""

clocks = Catalogue()


@clocks.add("B7", "redis-clock-jumps", tier=2)
def redis_clock_jumps(trial: Trial) -> Figures:
    """The clock of Redis jumps ahead by an hour, so that every lease is over at once, back by two, and ahead by three:
    nobody commits twice, work goes on in between, and what waited for its next attempt, or was with a worker that
    dies, does in the end."""
    clock = ShiftedClock(trial.directory)
    # Debian's Redis brings an allocator that libfaketime cannot live with.
    trial.own_redis(binary=bundled_valkey(), environ=clock.environ)
    doomed, _ = trial.workers(2)
    trial.watch()
    trial.load(*app.random_shapes, runs=RUNS, seconds=0.1)
    trial.load(app.persistent, runs=10)
    for number, hours in enumerate((1, -1, 2)):
        trial.await_effects(60 * (number + 1), BEGIN)
        clock.shift(hours * HOUR_SECONDS)
        trial.struck()
        trial.pause(LEASE_SECONDS / 2)
    trial.kill(doomed)
    tried_again = 3 * 2 * len(trial.runs_of(app.persistent))
    return trial.finish(Bounds(duplicates_at_most=tried_again + 4 * REPEATED))
