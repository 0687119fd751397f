"""C: RabbitMQ dies, forgets, loses parts of its topology, or takes nothing more."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace

from taskmesh.broker.protocol import exchange_name, shard_queue_name
from taskmesh.broker.settings import RECONNECT_CAP_SECONDS
from tests.nemesis import app
from tests.nemesis.catalogue import Catalogue
from tests.nemesis.checker import Bounds
from tests.nemesis.effects import BEGIN, END
from tests.nemesis.figures import Figures
from tests.nemesis.queues import POOL, channel_to, delete_exchange, delete_shard
from tests.nemesis.throughput import BEFORE_SECONDS, dip_around
from tests.nemesis.trial import Trial

REPEATED = 32
"""Executions that may be repeated when every unacked message comes again while its node is being run."""

SUBMIT_SECONDS = 5.0

RESTARTS = 3
STEADY_RUNS = 10_000
"""More than are submitted before the last restart is over."""

WATCHED_SECONDS = 15.0
"""How long the throughput is looked at after each restart."""

BACK_SECONDS = 10.0
"""So soon after the broker is back the throughput shall be; of several restarts, the median."""

broker = Catalogue()


def _under_load(trial: Trial, runs: int = 40, seconds: float = 0.02) -> None:
    trial.workers(2)
    trial.watch()
    trial.load(*app.random_shapes, app.half, runs=runs, seconds=seconds)
    trial.await_effects(20)


@broker.add("C1", "broker-kill9", tier=1)
def broker_kill9(trial: Trial) -> Figures:
    """RabbitMQ is killed and started again, twice."""
    _under_load(trial)
    for _ in range(2):
        trial.rabbitmq.settle()
        trial.rabbitmq.kill9()
        trial.rabbitmq.start()
        trial.struck()
    return trial.finish(Bounds(duplicates_at_most=REPEATED, own_waits_seconds=RECONNECT_CAP_SECONDS))


@broker.add("C2", "broker-restarts-in-order", tier=2)
def broker_restarts_in_order(trial: Trial) -> Figures:
    """RabbitMQ is stopped and started by its own command."""
    _under_load(trial)
    for _ in range(2):
        trial.rabbitmq.ctl("stop_app")
        trial.rabbitmq.ctl("start_app")
        trial.struck()
    return trial.finish(Bounds(duplicates_at_most=REPEATED, own_waits_seconds=RECONNECT_CAP_SECONDS))


@broker.add("C3", "connection-massacre", tier=1)
def connection_massacre(trial: Trial) -> Figures:
    """All connections are closed by the broker, four times, with deliveries under way."""
    _under_load(trial)
    for _ in range(4):
        trial.rabbitmq.ctl("close_all_connections", "experiment")
        trial.struck()
    return trial.finish(Bounds(duplicates_at_most=4 * REPEATED, own_waits_seconds=RECONNECT_CAP_SECONDS))


@broker.add("C4", "broker-amnesia", tier=1)
def broker_amnesia(trial: Trial) -> Figures:
    """RabbitMQ forgets every queue, exchange and message; all is declared and published again from the store."""
    _under_load(trial)
    trial.rabbitmq.wipe()
    trial.struck()
    return trial.finish(Bounds(duplicates_at_most=REPEATED, own_waits_seconds=RECONNECT_CAP_SECONDS))


@broker.add("C5", "queues-deleted", tier=1)
def queues_deleted(trial: Trial) -> Figures:
    """Shard queues are deleted with their messages while they are consumed."""
    _under_load(trial)
    for shard in (1, 3):
        delete_shard(trial.rabbitmq, trial.namespace, shard)
        trial.struck()
    return trial.finish(Bounds(duplicates_at_most=REPEATED))


@broker.add("C6", "all-queues-deleted-while-full", tier=2)
def all_queues_deleted_while_full(trial: Trial) -> Figures:
    """Every shard queue is deleted while hundreds of messages wait in them."""
    trial.load(app.diamond, runs=100, batch=50, gap_seconds=0)
    trial.worker()
    trial.watch()
    trial.await_effects(5)
    for shard in range(4):
        delete_shard(trial.rabbitmq, trial.namespace, shard)
    trial.struck()
    return trial.finish(Bounds(duplicates_at_most=REPEATED))


@broker.add("C7", "exchange-deleted", tier=1)
def exchange_deleted(trial: Trial) -> Figures:
    """The exchange is deleted under load; it is declared again, and what was refused is published again."""
    _under_load(trial)
    for _ in range(2):
        delete_exchange(trial.rabbitmq, trial.namespace)
        trial.struck()
        trial.pause(1)
    return trial.finish(Bounds(duplicates_at_most=REPEATED))


@broker.add("C8", "shards-unbound", tier=2)
def shards_unbound(trial: Trial) -> Figures:
    """Shards are unbound one after the other until none is left: what cannot be routed is returned, not lost."""
    _under_load(trial)
    with channel_to(trial.rabbitmq) as channel:
        for shard in range(4):
            queue = shard_queue_name(trial.namespace, POOL, shard)
            channel.queue_unbind(queue, exchange_name(trial.namespace, POOL), "1")
            trial.struck()
    return trial.finish(Bounds(duplicates_at_most=REPEATED))


def _submit_during_alarm(trial: Trial, raise_alarm: list[str], lower_alarm: list[str]) -> Figures:
    _under_load(trial)
    trial.rabbitmq.ctl(*raise_alarm)
    try:
        slowest = 0.0
        for number in range(5):
            begun = time.monotonic()
            trial.submit_one(app.diamond, f"alarm{number}")
            slowest = max(slowest, time.monotonic() - begun)
        trial.pause(2)
    finally:
        trial.rabbitmq.ctl(*lower_alarm)
    trial.struck()
    assert slowest < SUBMIT_SECONDS, f"a submit took {slowest:.1f} s during the alarm"
    return trial.finish(Bounds(duplicates_at_most=REPEATED))


@broker.add("C9", "memory-alarm", tier=1)
def memory_alarm(trial: Trial) -> Figures:
    """RabbitMQ's memory alarm blocks every publisher: submits are accepted all the same, and catch up afterwards."""
    raise_alarm = ["set_vm_memory_high_watermark", "0.00001"]
    return _submit_during_alarm(trial, raise_alarm, ["set_vm_memory_high_watermark", "absolute", "1GB"])


@broker.add("C10", "disk-alarm", tier=2)
def disk_alarm(trial: Trial) -> Figures:
    """As C9, by the disk alarm."""
    return _submit_during_alarm(trial, ["set_disk_free_limit", "900000000000000"], ["set_disk_free_limit", "50MB"])


@broker.add("C11", "consumer-timeout", tier=2)
def consumer_timeout(trial: Trial) -> Figures:
    """RabbitMQ closes channels whose deliveries wait a minute for their ack; a task of over two minutes runs once."""
    minute = "application:set_env(rabbit, consumer_timeout, 60000)."
    before = trial.rabbitmq.ctl("eval", "application:get_env(rabbit, consumer_timeout).").strip()
    trial.rabbitmq.ctl("eval", minute)
    try:
        worker = trial.worker()
        trial.load(app.one, runs=1, batch=1, seconds=130.0)
        trial.await_effects(1, BEGIN)
        trial.struck()
        trial.wait(lambda: bool(trial.effects(END)), "end of the long task", 200)
    finally:
        value = before.removeprefix("{ok,").removesuffix("}") if before.startswith("{ok,") else "1800000"
        trial.rabbitmq.ctl("eval", f"application:set_env(rabbit, consumer_timeout, {value}).")
    assert "PRECONDITION_FAILED" not in worker.process.output
    return trial.finish()


@broker.add("C12", "queue-refuses", tier=2)
def queue_refuses(trial: Trial) -> Figures:
    """The shards are full and refuse what is published; it is published again until there is room."""
    name = f"experiment-{trial.namespace}"
    pattern = f"^{trial.namespace}[.]default[.][0-9]+$"
    limits = '{"max-length": 3, "overflow": "reject-publish"}'
    trial.rabbitmq.ctl("set_policy", name, pattern, limits, "--apply-to", "queues")
    try:
        trial.workers(2)
        trial.watch()
        trial.load(app.fan, app.diamond, runs=10)
        trial.pause(3)
    finally:
        trial.rabbitmq.ctl("clear_policy", name)
    trial.struck()
    return trial.finish(Bounds(duplicates_at_most=REPEATED))


@broker.add("C13", "poison", tier=1)
def poison(trial: Trial) -> Figures:
    """Tasks that always end their executor by SIGKILL, as the kernel does when memory is short, among healthy ones."""
    trial.workers(2)
    trial.watch()
    trial.load(app.dies, runs=3, batch=1, number=9)
    trial.load(app.diamond, app.chain, runs=20)
    trial.settle()
    return trial.finish(Bounds(duplicates_at_most=3 * 3 * 3, failing=frozenset({"die"})))


@broker.add("C18", "classic-queues", tier=2)
def classic_queues(trial: Trial) -> Figures:
    """Classic queues instead of quorum queues: connections cut, broker killed."""
    trial.queue_type = "classic"
    _under_load(trial)
    trial.rabbitmq.ctl("close_all_connections", "experiment")
    trial.rabbitmq.kill9()
    trial.rabbitmq.start()
    trial.struck()
    return trial.finish(Bounds(duplicates_at_most=2 * REPEATED, own_waits_seconds=RECONNECT_CAP_SECONDS))


@broker.add("C19", "throughput-after-restart", tier=2)
def throughput_after_restart(trial: Trial) -> Figures:
    """RabbitMQ is killed and started again under a steady load, three times: ten seconds after it is back, in the
    median, a whole second has 95 percent of the throughput of before."""
    trial.workers(2)
    load = trial.load(app.diamond, runs=STEADY_RUNS)
    trial.await_effects(200)
    times = [_restart_under_load(trial) for _ in range(RESTARTS)]
    load.stop()
    own_waits_seconds = RECONNECT_CAP_SECONDS + WATCHED_SECONDS
    figures = trial.finish(Bounds(duplicates_at_most=RESTARTS * REPEATED, own_waits_seconds=own_waits_seconds))
    ends = [effect.at for effect in trial.effects(END)]
    dips = [dip_around(ends, *each) for each in times]
    back_after_seconds = statistics.median(dip.seconds for dip in dips)
    per_second = statistics.median(dip.per_second for dip in dips)
    trial.figures = replace(figures, per_second=per_second, back_after_seconds=round(back_after_seconds, 1))
    assert back_after_seconds <= BACK_SECONDS, f"the throughput came back after {[dip.seconds for dip in dips]} s"
    return trial.figures


def _restart_under_load(trial: Trial) -> tuple[float, float]:
    """When RabbitMQ died, and when it was back."""
    trial.rabbitmq.settle()
    trial.pause(BEFORE_SECONDS + 1.0)
    died_at = time.monotonic()
    trial.rabbitmq.kill9()
    trial.rabbitmq.start()
    back_at = time.monotonic()
    trial.struck()
    trial.pause(WATCHED_SECONDS)
    return died_at, back_at
