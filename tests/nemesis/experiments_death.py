"""A: processes die at named points, by signals, and by their own tasks."""

from __future__ import annotations

import signal

from tests.integration.mesh_bench import kill9
from tests.nemesis import app
from tests.nemesis.catalogue import Catalogue
from tests.nemesis.checker import Bounds
from tests.nemesis.effects import BEGIN
from tests.nemesis.figures import Figures
from tests.nemesis.injected.crash_points import WORKER, Trap
from tests.nemesis.memory_limit import join_limit, memory_limit
from tests.nemesis.queues import delete_shard, fewest_consumers
from tests.nemesis.trial import SHARDS, Trial

PER_CRASH = 8
"""Executions that the death of a worker may repeat: what two executors run, and what waits to be settled."""

PER_BATCH_CRASH = 128
"""The same where tasks take no time at all, so that ends are settled in large batches."""

LIMIT_MB = 600

death = Catalogue()


def _crash_at(trial: Trial, trap: Trap, *flows: object, runs: int = 40, seconds: float = 0.0) -> Figures:
    trial.workers(2, traps=[trap])
    trial.watch()
    trial.load(*flows, runs=runs, seconds=seconds)
    trial.await_crashes(trap.times)
    return trial.finish(Bounds(duplicates_at_most=PER_BATCH_CRASH * trap.times))


def _not_redriven(figures: Figures) -> Figures:
    """The keeper is for messages that are lost; these are not."""
    assert figures.redriven == 0, f"{figures.redriven} nodes had to be published again by the keeper"
    return figures


@death.add("A1", "kill-before-claim", tier=1)
def kill_before_claim(trial: Trial) -> Figures:
    """I/O processes die with deliveries that nobody has claimed; the broker delivers each again at once."""
    return _not_redriven(_crash_at(trial, Trap("delivered", every=15, times=3), app.diamond))


@death.add("A2", "kill-after-claim", tier=1)
def kill_after_claim(trial: Trial) -> Figures:
    """I/O processes die with nodes that are claimed and not begun; others take them over with the next delivery."""
    return _not_redriven(_crash_at(trial, Trap("claimed", every=12, times=3), app.diamond, seconds=0.05))


@death.add("A3", "kill-mid-task", tier=1)
def kill_mid_task(trial: Trial) -> Figures:
    """Whole workers are killed one after the other while their tasks run; each is replaced."""
    workers = trial.workers(3)
    trial.watch()
    trial.load(*app.random_shapes, runs=25, seconds=0.05)
    for kill in range(3):
        trial.await_effects(30 * (kill + 1), BEGIN)
        trial.kill(workers.pop(trial.dice.randrange(len(workers))))
        workers.append(trial.worker(ready=False))
    return trial.finish(Bounds(duplicates_at_most=3 * PER_CRASH))


@death.add("A4", "kill-after-effect", tier=1)
def kill_after_effect(trial: Trial) -> Figures:
    """Executors die after a task has done its work and before its end is told; it runs again and is recorded once."""
    figures = _crash_at(trial, Trap("effect", every=25, times=4), *app.random_shapes, runs=20)
    assert figures.duplicates >= 4, f"only {figures.duplicates} executions were repeated by 4 deaths after the effect"
    return figures


@death.add("A5", "kill-settle-before-publish", tier=1)
def kill_settle_before_publish(trial: Trial) -> Figures:
    """I/O processes die when ends are stored and the dependents that became ready are not published."""
    return _crash_at(trial, Trap("settled", every=6, times=3), app.fan, app.diamond, runs=10)


@death.add("A6", "kill-publish-before-confirm", tier=1)
def kill_publish_before_confirm(trial: Trial) -> Figures:
    """I/O processes die with messages that are sent and not confirmed."""
    return _crash_at(trial, Trap("published", every=6, times=3), app.fan, app.diamond, runs=10)


@death.add("A7", "kill-worker-after-confirm", tier=2)
def kill_worker_after_confirm(trial: Trial) -> Figures:
    """Whole workers die between the confirm of the dependents and the ack, so that nobody ends their lease."""
    trial.workers(2)
    trial.workers(2, traps=[Trap("confirmed", every=8, times=2, victim=WORKER)])
    trial.watch()
    trial.load(app.fan, app.diamond, runs=20)
    trial.await_crashes(2)
    return trial.finish(Bounds(duplicates_at_most=2 * PER_BATCH_CRASH))


@death.add("A8", "kill-before-ack", tier=1)
def kill_before_ack(trial: Trial) -> Figures:
    """I/O processes die after everything is done and before the ack; what is delivered again runs no code."""
    return _crash_at(trial, Trap("confirmed", every=10, times=3), app.diamond, app.chain, runs=20)


@death.add("A9", "kill-after-outcome", tier=2)
def kill_after_outcome(trial: Trial) -> Figures:
    """I/O processes die when an executor has told an end and the store does not know it yet."""
    return _crash_at(trial, Trap("ended", every=12, times=3), *app.random_shapes, runs=20)


@death.add("A10", "keeper-death-mid-redrive", tier=1)
def keeper_death_mid_redrive(trial: Trial) -> Figures:
    """Messages are lost; the keeper dies when it has given the nodes a new token and published none, twice."""
    trial.load(app.chain, runs=20, batch=20, gap_seconds=0, seconds=0.05)
    workers = trial.workers(3, traps=[Trap("redriven", times=2)])
    trial.watch()
    for _ in range(3):
        # A queue that is deleted while others declare it may be lost to RabbitMQ 3.10 until that is restarted.
        trial.wait(lambda: _consumers(trial) >= len(workers), "consumers of every shard")
        for shard in range(SHARDS):
            delete_shard(trial.rabbitmq, trial.namespace, shard)
        trial.pause(1)
    trial.await_crashes(2)
    return trial.finish(Bounds(duplicates_at_most=2 * PER_BATCH_CRASH))


def _consumers(trial: Trial) -> int:
    return fewest_consumers(trial.rabbitmq, trial.namespace, SHARDS)


@death.add("A12", "client-death-after-admit", tier=1)
def client_death_after_admit(trial: Trial) -> Figures:
    """Producers die between the store's answer and the publishing; workers find the runs."""
    trial.worker()
    for number in range(3):
        trial.submit_from_a_process(f"r{number}", Trap("admitted", times=3))
    trial.await_crashes(3)
    return trial.finish()


@death.add("A14", "all-workers-die", tier=2)
def all_workers_die(trial: Trial) -> Figures:
    """Every worker is killed at once; new ones come seconds later."""
    workers = trial.workers(3)
    trial.watch()
    trial.load(*app.random_shapes, runs=25, seconds=0.05)
    trial.await_effects(30, BEGIN)
    for worker in workers:
        trial.kill(worker)
    trial.pause(3)
    trial.struck()
    trial.workers(2)
    return trial.finish(Bounds(duplicates_at_most=3 * PER_CRASH))


@death.add("A15", "out-of-memory", tier=1)
def out_of_memory(trial: Trial) -> Figures:
    """Tasks use more memory than the worker's control group has, and the kernel kills their executor each time: they
    are given up, and no other run suffers."""
    worker = trial.worker()
    with memory_limit(worker.process.pid, LIMIT_MB):
        for pid in [*worker.children("taskmesh.app.io_process"), *worker.children("taskmesh.worker.executors.main")]:
            join_limit(worker.process.pid, pid)
        trial.watch()
        trial.load(app.eats, runs=2, batch=1, megabytes=4 * LIMIT_MB)
        trial.load(app.diamond, runs=20, seconds=0.02)
        trial.settle()
        trial.struck()
        return trial.finish(Bounds(duplicates_at_most=4 + 6 * 2, failing=frozenset({"eat"})))


@death.add("A16", "segfault", tier=1)
def segfault(trial: Trial) -> Figures:
    """A task ends its executor by SIGSEGV each time; it is given up, and no other run suffers."""
    trial.worker()
    trial.watch()
    trial.load(app.dies, runs=2, batch=1, number=int(signal.SIGSEGV))
    trial.load(app.diamond, runs=20, seconds=0.02)
    trial.settle()
    trial.faults = 6
    return trial.finish(Bounds(duplicates_at_most=4 + 6 * 2, failing=frozenset({"die"})))


@death.add("A17", "drain", tier=1)
def drain(trial: Trial) -> Figures:
    """SIGTERM in the middle of work: the worker ends with code 0, and nothing runs twice."""
    leaving, _ = trial.workers(2)
    trial.watch()
    trial.load(*app.random_shapes, runs=20, seconds=0.05)
    trial.await_effects(20, BEGIN)
    trial.struck()
    assert leaving.process.terminate(30) == 0
    return trial.finish()


@death.add("A18", "drain-overrun", tier=2)
def drain_overrun(trial: Trial) -> Figures:
    """Tasks outlast the drain: they are killed, handed back, and run elsewhere."""
    leaving = trial.worker(env={"TASKMESH_WORKER__DRAIN_SECONDS": "1"})
    trial.load(app.one, runs=2, batch=2, seconds=4.0)
    trial.await_effects(2, BEGIN)
    trial.worker()
    trial.struck()
    leaving.process.terminate(30)
    return trial.finish(Bounds(duplicates_at_most=2))


@death.add("A19", "signal-storm", tier=2)
def signal_storm(trial: Trial) -> Figures:
    """SIGHUP, SIGINT and SIGTERM in any order, twice; another worker goes on, and no traceback is written."""
    leaving, _ = trial.workers(2)
    trial.watch()
    trial.load(*app.random_shapes, runs=20, seconds=0.05)
    trial.await_effects(20, BEGIN)
    storm = [signal.SIGTERM, signal.SIGINT, signal.SIGTERM]
    trial.dice.shuffle(storm)
    for number in storm:
        leaving.process.signal(number)
        trial.pause(0.05)
    leaving.process.wait(40)
    trial.struck()
    assert "Traceback" not in leaving.process.output
    return trial.finish(Bounds(duplicates_at_most=PER_CRASH))


@death.add("A20", "memory-error", tier=2)
def memory_error(trial: Trial) -> Figures:
    """Tasks raise MemoryError; their nodes fail, and everything else goes on in the same executors."""
    worker = trial.worker()
    trial.load(app.exhausts, runs=40, batch=20, gap_seconds=0)
    trial.load(app.diamond, runs=20)
    figures = trial.finish(Bounds(failing=frozenset({"exhaust"})))
    assert worker.metric("executor_deaths_total") == 0
    return figures


@death.add("A21", "io-process-rain", tier=2)
def io_process_rain(trial: Trial) -> Figures:
    """The I/O processes, which publish and keep house, are killed one after the other, twice a second."""
    workers = trial.workers(2)
    trial.watch()
    trial.load(app.fan, app.diamond, app.chain, runs=20)
    for _ in range(8):
        for pid in trial.dice.choice(workers).children("taskmesh.app.io_process")[:1]:
            kill9(pid)
            trial.struck()
        trial.pause(0.5)
    return trial.finish(Bounds(duplicates_at_most=8 * PER_BATCH_CRASH))


@death.add("A23", "retries-through-deaths", tier=1)
def retries_through_deaths(trial: Trial) -> Figures:
    """Nodes wait for their next attempt while the processes that keep their timers are killed, one after the other."""
    workers = trial.workers(2)
    trial.watch()
    trial.load(app.persistent, runs=40)
    for _ in range(5):
        for pid in trial.dice.choice(workers).children("taskmesh.app.io_process")[:1]:
            kill9(pid)
            trial.struck()
        trial.pause(0.6)
    figures = trial.finish(Bounds(duplicates_at_most=40 * 3 * 2 + 5 * PER_CRASH))
    assert figures.duplicates >= 40 * 3 * 2, "not every node was tried three times"
    return figures


@death.add("A22", "orphans", tier=2)
def orphans(trial: Trial) -> Figures:
    """Only the supervisor is killed: everything below it ends too, and none of it commits afterwards."""
    doomed, _ = trial.workers(2)
    trial.load(app.one, runs=10, seconds=1.0)
    trial.await_effects(3, BEGIN)
    children = doomed.children("taskmesh.app.io_process") + doomed.children("taskmesh.worker.executors.main")
    trial.kill(doomed)
    trial.wait(lambda: not any(_lives(pid) for pid in children), "end of the orphans", 5)
    return trial.finish(Bounds(duplicates_at_most=PER_CRASH))


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
