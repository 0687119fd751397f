"""D5, D10, D13: what a Redis has is not all that it was told, or cannot be written, or cannot be read."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.harness.lagging_pair import LaggingPair, lagging_pair
from tests.nemesis import app
from tests.nemesis.catalogue import Catalogue
from tests.nemesis.checker import Bounds
from tests.nemesis.experiments_store import log_of
from tests.nemesis.figures import Figures
from tests.nemesis.history import Kind
from tests.nemesis.small_disk import small_disk
from tests.nemesis.trial import Trial

REPEATED = 16
DISK_MB = 8
COMMAND_SECONDS = 60.0

disk = Catalogue()


@disk.add("D5", "failover-with-lag", tier=2)
def failover_with_lag(trial: Trial) -> Figures:
    """A replica that has been cut off takes over: runs that it had never heard of are gone, and only those; of the
    others it had lost ends, which come again, with tokens that were given out before."""
    pair = trial.open.enter_context(lagging_pair())
    trial.store_url = pair.url
    trial.workers(2)
    trial.load(*app.random_shapes, app.chain, runs=30, seconds=0.05)
    trial.await_effects(60)
    lost = _fail_over_behind_the_back(trial, pair)
    return trial.finish(Bounds(duplicates_at_most=10_000, dead_letters_at_most=10_000, losable=lost, forgetful=True))


def _fail_over_behind_the_back(trial: Trial, pair: LaggingPair) -> frozenset[str]:
    """Gives the runs that were accepted when the replica was cut off already."""
    pair.await_replica()
    known = set(trial.history.accepted)
    pair.replication.hold()
    trial.load(app.diamond, runs=20)
    trial.wait(lambda: len(trial.history.accepted) >= len(known) + 20, "20 runs that the replica never hears of")
    # From now on no submit may end, neither in the old primary nor half in the new one.
    trial.settle_loads()
    lost = frozenset(trial.history.accepted) - known
    pair.fail_over()
    trial.struck()
    trial.load(app.diamond, runs=10)
    return lost


@disk.add("D10", "redis-disk-full", tier=2)
def redis_disk_full(trial: Trial) -> Figures:
    """The disk of Redis is full, so that it takes no writes: submits are refused, `taskmesh doctor` says why,
    nothing is half done, and all goes on when there is room again."""
    room = trial.open.enter_context(small_disk(DISK_MB))
    trial.own_redis(overrides={"dir": str(room.path)})
    trial.workers(2)
    trial.watch()
    trial.load(*app.random_shapes, app.half, runs=40, seconds=0.02)
    trial.await_effects(20)
    room.fill()
    trial.load(app.diamond, runs=10)
    trial.wait(lambda: bool(trial.history.of(Kind.INFO)), "submits that are refused")
    doctor = trial.command("doctor")
    assert doctor.wait(COMMAND_SECONDS) != 0
    assert "disk" in doctor.output, f"the doctor does not say what is wrong:\n{doctor.output}"
    room.empty()
    trial.struck()
    return trial.finish(Bounds(duplicates_at_most=REPEATED))


@disk.add("D13", "damaged-log", tier=2)
def damaged_log(trial: Trial) -> Figures:
    """Bytes in the middle of Redis's log are damaged, so it refuses to start: worker and doctor say that it does not
    answer. Its own tool cuts off what comes after the damage; then nothing is stuck, and new runs work."""
    trial.own_redis()
    worker = trial.worker()
    trial.load(*app.random_shapes, app.half, runs=40, seconds=0.02)
    trial.await_effects(60)
    trial.redis.kill9()
    _damage(log_of(trial.redis))
    assert not _starts(trial), "Redis has started with a damaged log"
    doctor = trial.command("doctor")
    assert doctor.wait(COMMAND_SECONDS) != 0
    assert "check that it runs" in doctor.output, f"the doctor does not say what is wrong:\n{doctor.output}"
    worker.process.wait_for(lambda: "check that it runs" in worker.process.output, "words of the worker")
    _repair(trial.redis.directory / "appendonlydir" / "appendonly.aof.manifest")
    trial.redis.start()
    trial.struck()
    accepted = frozenset(trial.history.accepted)
    trial.load(app.diamond, runs=10)
    figures = trial.finish(
        Bounds(duplicates_at_most=10_000, dead_letters_at_most=10_000, losable=accepted, forgetful=True)
    )
    assert figures.ended >= 10, "the runs of after the repair have not ended"
    return figures


def _damage(log: Path) -> None:
    """Write over some of it, two thirds from its begin."""
    with log.open("rb+") as file:
        file.seek(log.stat().st_size * 2 // 3)
        # More than any value has: what is damaged must be the form of the log, which Redis looks at.
        file.write(b"\r\n*x\r\n" * 3000)


def _starts(trial: Trial) -> bool:
    try:
        trial.redis.start()
    except AssertionError:
        return False
    return True


def _repair(manifest: Path) -> None:
    """As the documentation of Redis says."""
    repair = ["redis-check-aof", "--fix", str(manifest)]
    subprocess.run(repair, input="y\n", text=True, check=True, capture_output=True)
