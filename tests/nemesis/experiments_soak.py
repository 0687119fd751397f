"""G1, G6, G11: much that waits, a long time, and two versions side by side."""

from __future__ import annotations

import time
from collections.abc import Callable

import redis

from taskmesh import RunState
from tests.integration.mesh_bench import kill9
from tests.nemesis import app
from tests.nemesis.catalogue import Catalogue
from tests.nemesis.checker import Bounds
from tests.nemesis.figures import Figures
from tests.nemesis.grounds import Behind
from tests.nemesis.injected.schemas import SCHEMAS
from tests.nemesis.queues import delete_shard, waiting
from tests.nemesis.resources import Meter
from tests.nemesis.trial import SHARDS, Trial

QUEUED = 10_000
DRAIN_SECONDS = 400.0
SUBMIT_SECONDS = 5.0

RETENTION_SECONDS = 60
GROWTH_MB, GROWTH_FILES = 12.0, 4.0
"""How much a process may grow during a soak, beyond what it had after a third of it."""

WITH_POLICIES = 2
"""The newest schema of flows that an old worker reads: one without breakers and undos."""

REPEATED = 64

soak = Catalogue()


@soak.add("G1", "many-queued-nodes", tier=2)
def many_queued_nodes(trial: Trial) -> Figures:
    """Ten thousand runs are submitted while nobody works: no alarm, submits stay quick, and all of them end once
    somebody does."""
    trial.own_redis()
    empty = _redis_bytes(trial)
    trial.load(app.diamond, runs=QUEUED, batch=200, gap_seconds=0.0)
    trial.settle_loads()
    trial.wait(lambda: sum(waiting(trial.rabbitmq, trial.namespace).values()) >= QUEUED, "queued messages", 120)
    trial.measured["bytes of a run in Redis"] = (_redis_bytes(trial) - empty) // QUEUED
    trial.measured["bytes of a message in RabbitMQ"] = _queue_bytes(trial) // QUEUED
    assert trial.rabbitmq.ctl("eval", "rabbit_alarm:get_alarms().").strip() == "[]", "RabbitMQ has raised an alarm"
    begun = time.monotonic()
    trial.submit_one(app.diamond, "behind-all-others")
    seconds = time.monotonic() - begun
    assert seconds < SUBMIT_SECONDS, f"a submit took {seconds:.1f} s"
    trial.struck()
    trial.workers(2)
    trial.settle(DRAIN_SECONDS)
    return trial.finish()


def _redis_bytes(trial: Trial) -> int:
    with redis.Redis.from_url(trial.redis.url) as client:
        return int(client.info("memory")["used_memory"])


def _queue_bytes(trial: Trial) -> int:
    lines = trial.rabbitmq.ctl("list_queues", "name", "memory", "--no-table-headers").splitlines()
    return sum(int(line.split("\t")[1]) for line in lines if line.startswith(f"{trial.namespace}."))


@soak.add("G6", "soak", tier=2)
def soak_test(trial: Trial) -> Figures:
    """Minutes of all kinds of runs (as many as --soak-minutes says) while connections are cut, queues deleted, scripts
    forgotten, logs rewritten and executors killed, and old runs forgotten: memory, files and threads do not grow."""
    trial.own_redis()
    behind = trial.behind_proxies(2, env={"TASKMESH_STORE__RETENTION_SECONDS": str(RETENTION_SECONDS)})
    trial.watch()
    pids = _lasting(behind)
    meter, begun = Meter(pids), time.monotonic()
    while time.monotonic() - begun < trial.soak_seconds:
        _one_round(trial, behind)
    minutes = (time.monotonic() - begun) / 60
    meter.stop()
    assert _lasting(behind) == pids, "a process that should last has been replaced"
    growth = meter.growth()
    trial.measured["megabytes an hour"] = growth.megabytes
    trial.measured["files an hour"] = growth.files
    trial.measured["threads an hour"] = growth.threads
    _await_forgotten(trial)
    # From the last strike it also took until all was forgotten.
    bounds = Bounds(10_000, losable=frozenset(trial.history.accepted), own_waits_seconds=4 * RETENTION_SECONDS)
    figures = trial.finish(bounds)
    part = minutes / 60
    assert growth.megabytes * part < GROWTH_MB, f"a process has grown by {growth.megabytes * part:.1f} MB: {growth}"
    assert max(growth.files, growth.threads) * part < GROWTH_FILES, f"files or threads of a process grow: {growth}"
    return figures


def _lasting(behind: Behind) -> list[int]:
    """The processes that live as long as their worker."""
    return [pid for each in behind.workers for pid in (each.process.pid, *each.children("taskmesh.app.io_process"))]


def _one_round(trial: Trial, behind: Behind) -> None:
    known = set(trial.history.accepted)
    trial.load(*app.random_shapes, app.sagas["last"], app.saga_that_ends_well, runs=70, gap_seconds=0.1)
    trial.load(app.persistent, app.fan, runs=10)
    trial.pause(trial.dice.uniform(0.5, 1.5))
    trial.dice.choice(_strikes(trial, behind))()
    trial.struck()
    trial.settle()
    ends = trial.ledger.states([run_id for run_id in trial.history.accepted if run_id not in known])
    assert set(ends) <= {RunState.SUCCEEDED, RunState.COMPENSATED}, f"runs of this round are {set(ends)}"
    trial.measured["ended"] = trial.measured.get("ended", 0) + len(ends)


def _strikes(trial: Trial, behind: Behind) -> list[Callable[[], object]]:
    return [
        behind.broker.reset_all,
        behind.store.reset_all,
        lambda: delete_shard(trial.rabbitmq, trial.namespace, trial.dice.randrange(SHARDS)),
        lambda: trial.ledger.ask("SCRIPT", "FLUSH"),
        lambda: trial.ledger.ask("BGREWRITEAOF"),
        lambda: kill9(trial.dice.choice(trial.dice.choice(behind.workers).children("taskmesh.worker.executors.main"))),
    ]


def _await_forgotten(trial: Trial) -> None:
    """What has ended long ago leaves nothing."""
    trial.wait(
        lambda: not any(trial.ledger.states(trial.history.accepted)), "end of the retention", 3 * RETENTION_SECONDS
    )


@soak.add("G11", "two-versions", tier=2)
def two_versions(trial: Trial) -> Figures:
    """Workers that know only the flows of earlier versions are replaced one after the other under load, in both
    directions: what all of them can read runs anywhere, and what only new ones can read is never run by an old one."""
    old = {SCHEMAS: str(WITH_POLICIES)}
    first, second = trial.workers(2, env=old)
    trial.watch()
    for leaving, env in ((first, None), (second, None)):
        trial.load(*app.random_shapes, app.persistent, app.half, runs=35, gap_seconds=0.05)
        trial.worker(env=env)
        # Too early, by the rules: an old worker is still there.
        trial.load(app.sagas["last"], app.saga_that_ends_well, runs=10)
        trial.await_effects(20)
        assert leaving.process.terminate(40) == 0, "an old worker did not leave in good order"
        trial.struck()
    trial.settle()
    buried = trial.ledger.dead_letters()
    assert all("unreadable_flow" in letter for letter in buried), (
        f"more was buried than flows of later schemas: {buried}"
    )
    trial.worker(env=old)
    trial.load(*app.random_shapes, app.persistent, runs=30)
    trial.settle()
    tried_again = 3 * 2 * len(trial.runs_of(app.persistent))
    return trial.finish(Bounds(duplicates_at_most=tried_again + REPEATED, dead_letters_at_most=10_000))
