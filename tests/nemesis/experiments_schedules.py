"""Schedules: keepers die, stand still or have a wrong clock, and each tick is one run or visibly none (I10)."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator

from taskmesh import ScheduleDetails
from tests.nemesis import app
from tests.nemesis.catalogue import Catalogue
from tests.nemesis.checker import Bounds
from tests.nemesis.experiments_death import PER_CRASH
from tests.nemesis.experiments_pauses import IO_PROCESS
from tests.nemesis.figures import Figures
from tests.nemesis.history import Kind
from tests.nemesis.injected.crash_points import CLOCK, Trap
from tests.nemesis.trial import Trial

SCHEDULES = 5
TICKS = 12
LEAD_SECONDS = 5.0
"""How long a leader of a partition is one without saying so again."""

schedules = Catalogue()


def _tick(trial: Trial, count: int = SCHEDULES) -> list[str]:
    """Let schedules be due every second."""
    ids = [f"s{number}" for number in range(count)]
    for each in ids:
        trial.mesh.schedule(app.one, id=each, every_seconds=1.0, overlap="allow_all", catch_up="all")
    return ids


def _begun(trial: Trial) -> int:
    return sum(each.record.counts["begun"] for each in trial.mesh.schedules.ls())


def _await_begun(trial: Trial, count: int) -> None:
    trial.wait(lambda: _begun(trial) >= count, f"{count} runs of schedules")


def _finish(trial: Trial, bounds: Bounds) -> Figures:
    """Let nothing more begin, hold what has begun to all promises, and every tick to I10."""
    for each in trial.mesh.schedules.ls():
        trial.mesh.schedules.pause(each.schedule.id)
    trial.wait(lambda: not trial.ledger.recorded_ticks(), "end of what was recorded")
    found = [trial.mesh.schedules.get(each.schedule.id) for each in trial.mesh.schedules.ls()]
    run_ids = [run.run_id for each in found for run in each.record.started]
    trial.history.note(Kind.INVOKE, run_ids, app.one.name)
    trial.history.note(Kind.OK, run_ids, app.one.name)
    figures = trial.finish(bounds)
    broken = [sentence for each in found for sentence in _violations(each)]
    assert not broken, "\n".join(broken)
    return figures


def _violations(found: ScheduleDetails) -> Iterator[str]:
    record, name = found.record, found.schedule.id
    became = Counter(run.tick for run in record.started if run.state == "started")
    for passed in record.passed:
        became.update(range(passed.first, passed.last + 1, 1000))
    for run in record.started:
        if run.state != "started":
            yield f"I10 cron: the run {run.run_id} was refused: {run.why}"
    last = record.standing.next_tick
    if not became or last is None:
        yield f"I10 cron: nothing became of schedule {name}"
        return
    for tick in range(min(became), last, 1000):
        if became[tick] != 1:
            yield f"I10 cron: tick {tick} of schedule {name} became {became[tick]} things"


@schedules.add("A11", "keeper-death-at-tick", tier=1)
def keeper_death_at_tick(trial: Trial) -> Figures:
    """I/O processes die between the record of a tick and the run, and between the run and that it is noted: another
    keeper goes on, and each tick is one run."""
    trial.workers(3, traps=[Trap("recorded", every=3, times=2), Trap("ticks begun", every=4, times=2)])
    trial.watch()
    _tick(trial)
    trial.await_crashes(4)
    _await_begun(trial, _begun(trial) + SCHEDULES * TICKS)
    return _finish(trial, Bounds(duplicates_at_most=4 * PER_CRASH))


@schedules.add("B2", "paused-leader", tier=2)
def paused_leader(trial: Trial) -> Figures:
    """A keeper stands still for longer than it leads, and another stands in; what it decides then comes too late."""
    frozen, _ = trial.workers(2)
    trial.watch()
    _tick(trial)
    _await_begun(trial, SCHEDULES)
    for pid in frozen.children(IO_PROCESS):
        os.kill(pid, signal.SIGSTOP)
    trial.pause(2 * LEAD_SECONDS)
    for pid in frozen.children(IO_PROCESS):
        os.kill(pid, signal.SIGCONT)
    trial.struck()
    _await_begun(trial, _begun(trial) + SCHEDULES * TICKS)
    return _finish(trial, Bounds(duplicates_at_most=PER_CRASH))


@schedules.add("B6", "wrong-keeper-clock", tier=2)
def wrong_keeper_clock(trial: Trial) -> Figures:
    """The clock of one keeper is two hours late, that of the other two hours early: ticks follow the store's alone."""
    trial.worker(env={CLOCK: "-7200"})
    trial.worker(env={CLOCK: "7200"})
    trial.watch()
    _tick(trial)
    _await_begun(trial, SCHEDULES * TICKS)
    trial.struck()
    figures = _finish(trial, Bounds())
    missed = sum(each.record.counts["missed"] for each in trial.mesh.schedules.ls())
    assert missed == 0, f"{missed} ticks were taken for late"
    return figures


@schedules.add("G10", "many-in-one-second", tier=2)
def many_in_one_second(trial: Trial) -> Figures:
    """Three hundred schedules are due in the same seconds while a keeper is killed: each tick is one run."""
    doomed, _, _ = trial.workers(3)
    trial.watch()
    ids = _tick(trial, 300)
    _await_begun(trial, len(ids))
    trial.kill(doomed)
    _await_begun(trial, _begun(trial) + 2 * len(ids))
    return _finish(trial, Bounds(duplicates_at_most=PER_CRASH))


@schedules.add("H9", "more-keepers-than-needed", tier=2)
def more_keepers_than_needed(trial: Trial) -> Figures:
    """Keepers come and go all the time, so that partitions change hands: each tick is one run all the same."""
    workers = trial.workers(2)
    trial.watch()
    _tick(trial)
    for _ in range(3):
        _await_begun(trial, _begun(trial) + SCHEDULES)
        workers.append(trial.worker())
        trial.kill(workers.pop(0))
    return _finish(trial, Bounds(duplicates_at_most=3 * PER_CRASH))
