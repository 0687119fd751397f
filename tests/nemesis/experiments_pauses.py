"""B: processes that stand still, hold the interpreter, starve, or have a wrong clock."""

from __future__ import annotations

import os
import signal

from taskmesh.broker.settings import RECONNECT_CAP_SECONDS
from tests.integration.mesh_bench import Worker
from tests.nemesis import app
from tests.nemesis.catalogue import Catalogue
from tests.nemesis.checker import Bounds
from tests.nemesis.effects import BEGIN
from tests.nemesis.figures import Figures
from tests.nemesis.injected.crash_points import CLOCK
from tests.nemesis.recovery import HEARTBEAT_SECONDS, LEASE_SECONDS
from tests.nemesis.trial import Trial

IO_PROCESS, EXECUTOR = "taskmesh.app.io_process", "taskmesh.worker.executors.main"

pauses = Catalogue()


def _signal_all(worker: Worker, number: int) -> None:
    for pid in [worker.process.pid, *worker.children(IO_PROCESS), *worker.children(EXECUTOR)]:
        os.kill(pid, number)


@pauses.add("B1", "pause-longer-than-lease", tier=1)
def pause_longer_than_lease(trial: Trial) -> Figures:
    """A worker stands still in mid-task for longer than its lease, and wakes when another has taken its nodes over:
    its late ends are refused."""
    frozen = trial.worker()
    trial.watch()
    trial.load(app.one, runs=4, batch=4, seconds=1.0)
    trial.await_effects(1, BEGIN)
    _signal_all(frozen, signal.SIGSTOP)
    trial.worker()
    trial.load(app.diamond, runs=10, seconds=0.02)
    trial.settle()
    _signal_all(frozen, signal.SIGCONT)
    trial.struck()
    trial.wait(lambda: trial.crew.count("stale_settlements_total") >= 1, "refusal of a late end", 30)
    return trial.finish(Bounds(duplicates_at_most=4))


@pauses.add("B3", "pause-shorter-than-lease", tier=2)
def pause_shorter_than_lease(trial: Trial) -> Figures:
    """A worker stands still for half its lease: it loses nothing, and nothing runs twice."""
    worker = trial.worker()
    trial.watch()
    trial.load(*app.random_shapes, runs=10, seconds=0.05)
    trial.await_effects(10, BEGIN)
    for _ in range(2):
        _signal_all(worker, signal.SIGSTOP)
        trial.pause(LEASE_SECONDS / 2)
        _signal_all(worker, signal.SIGCONT)
        trial.struck()
        trial.pause(LEASE_SECONDS / 2)
    return trial.finish()


@pauses.add("B4", "broker-stands-still", tier=1)
def broker_stands_still(trial: Trial) -> Figures:
    """RabbitMQ stands still for longer than two heartbeats and goes on; workers notice, reconnect and consume."""
    worker = trial.worker()
    trial.watch()
    trial.load(app.diamond, runs=20)
    trial.await_effects(20)
    os.kill(trial.rabbitmq.process.pid, signal.SIGSTOP)
    try:
        trial.load(app.diamond, runs=20)
        trial.wait(lambda: worker.get("/readyz")[0] == 503, "worker that noticed", 4 * HEARTBEAT_SECONDS)
    finally:
        os.kill(trial.rabbitmq.process.pid, signal.SIGCONT)
    trial.struck()
    return trial.finish(Bounds(duplicates_at_most=16, own_waits_seconds=RECONNECT_CAP_SECONDS))


@pauses.add("B5", "wrong-worker-clock", tier=1)
def wrong_worker_clock(trial: Trial) -> Figures:
    """One worker's clock is an hour late, another's three years early: leases follow the store's clock alone."""
    trial.worker(env={CLOCK: "-3600"})
    trial.worker(env={CLOCK: str(3 * 365 * 86_400)})
    trial.watch()
    trial.load(*app.random_shapes, runs=20, seconds=0.02)
    trial.pause(2 * LEASE_SECONDS)
    trial.struck()
    figures = trial.finish()
    assert figures.redriven == 0, "a healthy worker's nodes were re-driven"
    return figures


@pauses.add("B9", "interpreter-hog", tier=1)
def interpreter_hog(trial: Trial) -> Figures:
    """Native code holds the interpreter for four leases: no connection is lost, the lease is renewed, it runs once."""
    worker, _ = trial.workers(2)
    trial.watch()
    trial.load(app.hogs, runs=1, batch=1, seconds=4 * LEASE_SECONDS)
    trial.load(app.diamond, runs=10, seconds=0.02)
    trial.await_effects(2, BEGIN)
    trial.struck()
    trial.settle()
    assert "no connection" not in worker.process.output
    figures = trial.finish()
    assert figures.redriven == 0
    return figures


@pauses.add("B11", "starved-of-cpu", tier=2)
def starved_of_cpu(trial: Trial) -> Figures:
    """Workers are given a tiny share of the CPU while others burn it: no lease lapses in a storm."""
    workers = trial.workers(2)
    burners = [trial.children.start(["sh", "-c", "while :; do :; done"]) for _ in range(4)]
    for worker in workers:
        for pid in [*worker.children(IO_PROCESS), *worker.children(EXECUTOR)]:
            os.setpriority(os.PRIO_PROCESS, pid, 15)
    trial.watch()
    trial.load(*app.random_shapes, runs=15, seconds=0.02)
    trial.pause(8)
    for burner in burners:
        burner.kill9()
    trial.struck()
    return trial.finish(Bounds(duplicates_at_most=8))
