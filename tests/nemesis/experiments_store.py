"""D: Redis dies, forgets, refuses, or forgets its scripts."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.harness.redis import RedisServer
from tests.nemesis import app
from tests.nemesis.catalogue import Catalogue
from tests.nemesis.checker import Bounds
from tests.nemesis.effects import BEGIN
from tests.nemesis.figures import Figures
from tests.nemesis.history import Kind
from tests.nemesis.trial import Trial

REPEATED = 16

store = Catalogue()


def _under_load(trial: Trial, runs: int = 40) -> None:
    trial.workers(2)
    trial.watch()
    trial.load(*app.random_shapes, app.half, runs=runs, seconds=0.02)
    trial.await_effects(20)


def _kill_often(trial: Trial, times: int) -> Figures:
    _under_load(trial)
    for _ in range(times):
        trial.redis.kill9()
        trial.redis.start()
        trial.struck()
        trial.pause(0.5)
    return trial.finish(Bounds(duplicates_at_most=times * REPEATED))


@store.add("D1", "redis-kill9-everysec", tier=1)
def redis_kill9_everysec(trial: Trial) -> Figures:
    """Redis is killed and started again, four times; what it answered is in the kernel's hands and is not lost."""
    return _kill_often(trial, 4)


@store.add("D2", "redis-kill9-always", tier=2)
def redis_kill9_always(trial: Trial) -> Figures:
    """As D1 with appendfsync always."""
    trial.own_redis(fsync="always")
    return _kill_often(trial, 6)


@store.add("D3", "power-loss-everysec", tier=1)
def power_loss_everysec(trial: Trial) -> Figures:
    """The power fails: the last second of Redis's log is gone. What vanished are the newest runs, nothing else; all
    others end, and messages of runs that are gone become dead letters."""
    trial.own_redis()
    trial.workers(2)
    trial.load(*app.random_shapes, runs=60, batch=5, gap_seconds=0.2, seconds=0.02)
    with _sizes(trial.redis) as sizes:
        trial.await_effects(60)
        trial.pause(1.5)
        trial.redis.kill9()
    lost_since = _cut_log(trial.redis, sizes, seconds=1.0)
    trial.redis.start()
    trial.struck()
    # A submit is noted a little later than it is stored.
    newest = [each.run_id for each in trial.history.of(Kind.OK).values() if each.at >= lost_since - 0.5]
    figures = trial.finish(
        Bounds(duplicates_at_most=1000, dead_letters_at_most=1000, losable=frozenset(newest), forgetful=True)
    )
    assert figures.ended >= figures.accepted - len(newest)
    return figures


@contextmanager
def _sizes(server: RedisServer) -> Iterator[list[tuple[float, int]]]:
    """How long the log was, and when."""
    sizes: list[tuple[float, int]] = []
    stopping = threading.Event()

    def sample() -> None:
        while not stopping.wait(0.05):
            sizes.append((time.monotonic(), log_of(server).stat().st_size))

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield sizes
    finally:
        stopping.set()
        sampler.join()


def log_of(server: RedisServer) -> Path:
    [log] = (server.directory / "appendonlydir").glob("*.incr.aof")
    return log


def _cut_log(server: RedisServer, sizes: list[tuple[float, int]], seconds: float) -> float:
    """Cut off what was written in the last seconds; gives the time from which it is gone."""
    at, size = next(pair for pair in reversed(sizes) if pair[0] <= sizes[-1][0] - seconds)
    with log_of(server).open("rb+") as log:
        log.truncate(size)
    return at


@store.add("D6", "redis-amnesia", tier=2)
def redis_amnesia(trial: Trial) -> Figures:
    """Redis comes back empty: no code runs for runs that it does not know, and new runs work."""
    trial.own_redis()
    trial.workers(2)
    trial.load(app.chain, runs=20, batch=20, seconds=0.05)
    trial.await_effects(20)
    trial.redis.wipe()
    trial.struck()
    forgotten = frozenset(trial.history.accepted)
    trial.pause(1)
    known = len(trial.effects(BEGIN))
    trial.load(app.diamond, runs=10)
    trial.settle()
    begun = {effect.run_id for effect in trial.effects(BEGIN)[known:]}
    assert not begun & forgotten, "code ran for a run that the store has forgotten"
    return trial.finish(Bounds(duplicates_at_most=REPEATED, dead_letters_at_most=1000, losable=forgotten))


@store.add("D7", "script-flush", tier=1)
def script_flush(trial: Trial) -> Figures:
    """Redis forgets its scripts ten times a second."""
    _under_load(trial)
    client = redis.Redis.from_url(trial.redis.url)
    for _ in range(30):
        client.script_flush()
        trial.struck()
        trial.pause(0.1)
    client.close()
    return trial.finish()


@store.add("D8", "redis-out-of-memory", tier=2)
def redis_out_of_memory(trial: Trial) -> Figures:
    """Redis has no memory left for a while: what it refuses is not half done, and is done later."""
    trial.own_redis()
    _under_load(trial)
    client = redis.Redis.from_url(trial.redis.url)
    client.config_set("maxmemory", str(1_000_000))
    trial.pause(3)
    client.config_set("maxmemory", "0")
    client.close()
    trial.struck()
    return trial.finish(Bounds(duplicates_at_most=REPEATED))


@store.add("D9", "redis-busy", tier=2)
def redis_busy(trial: Trial) -> Figures:
    """A stranger's script holds Redis for longer than every timeout, three times."""
    trial.own_redis(overrides={"busy-reply-threshold": "200"})
    _under_load(trial)
    client = redis.Redis.from_url(trial.redis.url, socket_timeout=10)
    loop = "local t = redis.call('TIME')[1] + 2; while tonumber(redis.call('TIME')[1]) < t do end"
    for _ in range(3):
        client.eval(loop, 0)
        trial.struck()
    client.close()
    return trial.finish(Bounds(duplicates_at_most=REPEATED))


@store.add("D11", "redis-stands-still", tier=2)
def redis_stands_still(trial: Trial) -> Figures:
    """Redis stands still for longer than the lease: every lease is over when it wakes, and nothing is given away."""
    _under_load(trial)
    os.kill(trial.redis.process.pid, signal.SIGSTOP)
    trial.pause(5)
    os.kill(trial.redis.process.pid, signal.SIGCONT)
    trial.struck()
    return trial.finish(Bounds(duplicates_at_most=REPEATED))


@store.add("D12", "redis-loading", tier=2)
def redis_loading(trial: Trial) -> Figures:
    """Redis has much to load after a kill and answers LOADING for a while, which is treated as being away."""
    trial.own_redis()
    client = redis.Redis.from_url(trial.redis.url)
    client.eval("for i = 1, 400000 do redis.call('HSET', 'ballast:' .. i, 'a', 'b', 'c', i) end", 0)
    client.close()
    _under_load(trial)
    trial.redis.kill9()
    trial.redis.start()
    trial.struck()
    return trial.finish(Bounds(duplicates_at_most=REPEATED))


@store.add("D14", "permissions-taken", tier=2)
def permissions_taken(trial: Trial) -> Figures:
    """Somebody forbids scripts to the user of the store for a while: nothing is half done, and all goes on after."""
    trial.own_redis()
    _under_load(trial)
    client = redis.Redis.from_url(trial.redis.url)
    client.execute_command("ACL", "SETUSER", "default", "-evalsha", "-eval")
    trial.pause(2)
    client.execute_command("ACL", "SETUSER", "default", "+evalsha", "+eval")
    client.close()
    trial.struck()
    return trial.finish(Bounds(duplicates_at_most=REPEATED))


@store.add("D15", "log-rewrites", tier=2)
def log_rewrites(trial: Trial) -> Figures:
    """Redis rewrites its log again and again under load, and is killed in the middle of it."""
    trial.own_redis()
    _under_load(trial)
    client = redis.Redis.from_url(trial.redis.url)
    for _ in range(5):
        client.execute_command("BGREWRITEAOF")
        trial.pause(0.3)
    client.close()
    trial.redis.kill9()
    trial.redis.start()
    trial.struck()
    return trial.finish(Bounds(duplicates_at_most=REPEATED))
