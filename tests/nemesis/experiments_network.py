"""E: the network between workers and servers, through proxies of our own."""

from __future__ import annotations

from typing import Any

from taskmesh.broker.settings import RECONNECT_CAP_SECONDS
from tests.nemesis import app
from tests.nemesis.catalogue import Catalogue
from tests.nemesis.checker import Bounds
from tests.nemesis.figures import Figures
from tests.nemesis.proxy import (
    TO_CLIENT,
    TO_SERVER,
    FaultProxy,
)
from tests.nemesis.recovery import HEARTBEAT_SECONDS, LEASE_SECONDS, NOTICE_SECONDS
from tests.nemesis.trial import Trial

REPEATED = 32
BOTH = frozenset({TO_SERVER, TO_CLIENT})

network = Catalogue()


def _seconds_down(trial: Trial, seconds: float, *proxies: FaultProxy, **weather: Any) -> None:
    for proxy in proxies:
        proxy.weather(**weather)
    trial.pause(seconds)
    for proxy in proxies:
        proxy.clear()
    trial.struck()


@network.add("E1", "reset-rain", tier=2)
def reset_rain(trial: Trial) -> Figures:
    """Every connection of a worker is reset again and again."""
    behind = trial.behind_proxies()
    trial.watch()
    trial.load(*app.random_shapes, runs=30, seconds=0.02)
    for _ in range(10):
        trial.pause(0.5)
        behind.broker.reset_all()
        behind.store.reset_all()
        trial.struck()
    return trial.finish(Bounds(duplicates_at_most=10 * REPEATED, own_waits_seconds=RECONNECT_CAP_SECONDS))


@network.add("E2", "half-open-amqp", tier=1)
def half_open_amqp(trial: Trial) -> Figures:
    """A worker's connections to RabbitMQ stand still without an end. The broker and the worker notice by their
    heartbeats; another worker takes over."""
    behind = trial.behind_proxies()
    trial.worker()
    trial.watch()
    trial.load(*app.random_shapes, runs=30, seconds=0.02)
    trial.await_effects(20)
    behind.broker.weather(down=BOTH)
    trial.struck()
    trial.wait(lambda: behind.worker.get("/readyz")[0] == 503, "worker that noticed", 4 * HEARTBEAT_SECONDS)
    behind.broker.clear()
    behind.broker.reset_all()
    behind.worker.wait_ready()
    return trial.finish(Bounds(duplicates_at_most=REPEATED, own_waits_seconds=RECONNECT_CAP_SECONDS))


@network.add("E4", "store-replies-lost", tier=2)
def store_replies_lost(trial: Trial) -> Figures:
    """For a while nothing that Redis answers reaches a worker, though Redis does what it is asked."""
    behind = trial.behind_proxies()
    trial.worker()
    trial.watch()
    trial.load(*app.random_shapes, runs=30, seconds=0.02)
    trial.await_effects(10)
    _seconds_down(trial, 2 * LEASE_SECONDS, behind.store, down=frozenset({TO_CLIENT}))
    return trial.finish(Bounds(duplicates_at_most=REPEATED))


@network.add("E6", "byte-by-byte", tier=2)
def byte_by_byte(trial: Trial) -> Figures:
    """Everything arrives in pieces of one byte, on both links."""
    behind = trial.behind_proxies()
    trial.watch()
    behind.broker.weather(byte_by_byte=True)
    behind.store.weather(byte_by_byte=True)
    trial.load(app.diamond, runs=5)
    trial.struck()
    return trial.finish()


@network.add("E7", "narrow-link", tier=2)
def narrow_link(trial: Trial) -> Figures:
    """Ten kilobytes a second to RabbitMQ: slow, and nothing else."""
    behind = trial.behind_proxies()
    trial.watch()
    behind.broker.weather(bytes_per_second=10_000)
    trial.load(app.diamond, runs=20)
    trial.struck()
    return trial.finish()


@network.add("E8", "long-way", tier=2)
def long_way(trial: Trial) -> Figures:
    """Everything takes a tenth of a second longer on both links, in both directions; the lease is the default one."""
    behind = trial.behind_proxies(env={"TASKMESH_WORKER__LEASE_SECONDS": "15"})
    trial.watch()
    behind.broker.weather(delay_seconds=0.1)
    behind.store.weather(delay_seconds=0.1)
    trial.load(app.diamond, runs=10)
    trial.struck()
    return trial.finish(Bounds(lease_seconds=15))


@network.add("E10", "cut-off-from-redis", tier=2)
def cut_off_from_redis(trial: Trial) -> Figures:
    """A worker reaches RabbitMQ and not Redis: it starts no code, and others do its work."""
    behind = trial.behind_proxies()
    trial.worker()
    trial.watch()
    trial.load(app.diamond, runs=10)
    trial.settle()
    pids = set(behind.worker.children("taskmesh.worker.executors.main"))
    behind.store.weather(refuses=True)
    behind.store.reset_all()
    trial.pause(0.5)
    known = len(trial.effects())
    trial.load(app.diamond, runs=20)
    trial.pause(2 * LEASE_SECONDS)
    begun = {effect.pid for effect in trial.effects()[known:]}
    assert not begun & pids, "a worker that cannot claim has run code"
    behind.store.clear()
    trial.struck()
    return trial.finish(Bounds(duplicates_at_most=REPEATED))


@network.add("E11", "cut-off-from-rabbitmq", tier=2)
def cut_off_from_rabbitmq(trial: Trial) -> Figures:
    """A worker reaches Redis and not RabbitMQ: what it runs is recorded, and its dependents run elsewhere."""
    behind = trial.behind_proxies()
    trial.worker()
    trial.watch()
    trial.load(*app.random_shapes, runs=20, seconds=0.05)
    trial.await_effects(10)
    behind.broker.weather(refuses=True)
    behind.broker.reset_all()
    trial.struck()
    trial.settle()
    behind.broker.clear()
    return trial.finish(Bounds(duplicates_at_most=REPEATED, own_waits_seconds=RECONNECT_CAP_SECONDS))


@network.add("E12", "cut-off-longer-than-lease", tier=2)
def cut_off_longer_than_lease(trial: Trial) -> Figures:
    """A worker is cut off from everything for three leases while its tasks run; what it brings back late is refused."""
    behind = trial.behind_proxies()
    trial.watch()
    trial.load(app.one, runs=4, batch=4, seconds=1.0)
    trial.await_effects(1, "begin")
    behind.broker.weather(down=BOTH)
    behind.store.weather(down=BOTH)
    trial.worker()
    trial.pause(3 * LEASE_SECONDS)
    trial.settle()
    behind.broker.clear()
    behind.store.clear()
    trial.struck()
    behind.worker.wait_ready()
    return trial.finish(Bounds(duplicates_at_most=8))


@network.add("E13", "deaf-after-many-cuts", tier=2)
def deaf_after_many_cuts(trial: Trial) -> Figures:
    """A hundred cuts at random moments of connecting and consuming; the only worker still hears every message."""
    behind = trial.behind_proxies()
    trial.watch()
    for number in range(100):
        behind.broker.reset_all()
        trial.pause(trial.dice.uniform(0.0, 0.15))
        if number % 10 == 9:
            trial.load(app.diamond, runs=2, batch=2)
    trial.faults = 99
    trial.struck()
    return trial.finish(Bounds(duplicates_at_most=REPEATED, own_waits_seconds=RECONNECT_CAP_SECONDS))


@network.add("E15", "nobody-answers-connects", tier=2)
def nobody_answers_connects(trial: Trial) -> Figures:
    """New connections to RabbitMQ are opened and never served; the worker gives each up and tries again."""
    behind = trial.behind_proxies(env={"TASKMESH_BROKER__CONNECT_TIMEOUT_SECONDS": "1"})
    trial.watch()
    behind.broker.weather(down=BOTH)
    behind.broker.reset_all()
    trial.load(app.diamond, runs=10)
    before = behind.broker.connections
    trial.pause(6)
    assert behind.broker.connections > before, "the worker has not tried again"
    behind.broker.clear()
    trial.struck()
    return trial.finish(Bounds(duplicates_at_most=REPEATED, own_waits_seconds=RECONNECT_CAP_SECONDS))


@network.add("E16", "herd", tier=2)
def herd(trial: Trial) -> Figures:
    """RabbitMQ refuses for a while: connects come in a growing rhythm, not in a storm."""
    behind = trial.behind_proxies()
    trial.watch()
    trial.load(app.diamond, runs=10)
    trial.await_effects(10)
    behind.broker.weather(refuses=True)
    behind.broker.reset_all()
    before = behind.broker.connections
    trial.pause(6)
    attempts = behind.broker.connections - before
    behind.broker.clear()
    trial.struck()
    assert attempts <= 60, f"{attempts} connects in 6 s"
    return trial.finish(Bounds(duplicates_at_most=REPEATED, own_waits_seconds=RECONNECT_CAP_SECONDS))


@network.add("E17", "one-way-amqp", tier=2)
def one_way_amqp(trial: Trial) -> Figures:
    """A worker reaches RabbitMQ, and nothing comes back."""
    behind = trial.behind_proxies()
    trial.worker()
    trial.watch()
    trial.load(*app.random_shapes, runs=20, seconds=0.02)
    trial.await_effects(10)
    behind.broker.weather(down=frozenset({TO_CLIENT}))
    trial.wait(lambda: behind.worker.get("/readyz")[0] == 503, "worker that noticed", 4 * HEARTBEAT_SECONDS)
    behind.broker.clear()
    trial.struck()
    return trial.finish(Bounds(duplicates_at_most=REPEATED, own_waits_seconds=RECONNECT_CAP_SECONDS + NOTICE_SECONDS))
