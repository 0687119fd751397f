"""F: an adversary with access to the broker repeats, reorders, delays and forges messages."""

from __future__ import annotations

import random
import struct
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from taskmesh import RunState
from taskmesh.wire import pack
from taskmesh.wire.messages import MESSAGE_SCHEMA, NodeMessage, encode_message
from tests.nemesis import app, shapes
from tests.nemesis.catalogue import Catalogue
from tests.nemesis.checker import Bounds
from tests.nemesis.figures import Figures
from tests.nemesis.frames import DELIVER, PUBLISH, Unit
from tests.nemesis.proxy import PASS, TO_CLIENT, TO_SERVER, Fate
from tests.nemesis.queues import publish_to_shards, waiting
from tests.nemesis.trial import SHARDS, Trial

STRANGER = NodeMessage("nobody", 0, 0, 1, "0" * 32, "nobody")

messages = Catalogue()


class Repeater:
    """Publishes a copy of every message that passes into other shards, from a connection of its own."""

    def __init__(self, trial: Trial, copies: int) -> None:
        self._trial = trial
        self._copies = copies
        self._bodies: SimpleQueue[bytes] = SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="repeater", daemon=True)
        self._thread.start()

    def judge(self, direction: str, unit: Unit) -> Fate:
        if direction == TO_SERVER and unit.kind == PUBLISH:
            for _ in range(self._copies):
                self._bodies.put(unit.body)
        return PASS

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(0.02):
            bodies = self._gathered()
            if bodies:
                publish_to_shards(self._trial.rabbitmq, self._trial.namespace, SHARDS, bodies)

    def _gathered(self) -> list[bytes]:
        bodies = []
        try:
            while True:
                bodies.append(self._bodies.get_nowait())
        except Empty:
            return bodies


@messages.add("F1", "everything-three-times", tier=1)
def everything_three_times(trial: Trial) -> Figures:
    """Every message comes three times, over several shards, to several workers at once; nothing runs twice."""
    behind = trial.behind_proxies(2)
    repeater = Repeater(trial, copies=2)
    behind.broker.judge(lambda: repeater.judge)
    trial.mesh = trial.client(broker_url=behind.broker_url)
    trial.watch()
    trial.load(*app.random_shapes, app.spread, runs=30, seconds=0.01)
    trial.settle()
    repeater.stop()
    trial.struck()
    return trial.finish()


def _with_judged_deliveries(trial: Trial, judge: Callable[[random.Random], Fate]) -> Figures:
    behind = trial.behind_proxies(2)
    dice = random.Random(trial.seed)

    def judged(direction: str, unit: Unit) -> Fate:
        return judge(dice) if direction == TO_CLIENT and unit.kind == DELIVER else PASS

    behind.broker.judge(lambda: judged)
    trial.watch()
    trial.load(*app.random_shapes, app.spread, runs=20, seconds=0.01)
    trial.settle()
    behind.broker.clear()
    trial.struck()
    return trial.finish()


@messages.add("F2", "deliveries-reordered", tier=2)
def deliveries_reordered(trial: Trial) -> Figures:
    """Two of three deliveries are held back until later ones have passed."""
    return _with_judged_deliveries(trial, lambda dice: Fate(hold=dice.random() < 0.66))


@messages.add("F3", "deliveries-late", tier=2)
def deliveries_late(trial: Trial) -> Figures:
    """Each delivery is late by up to a fifth of a second."""
    return _with_judged_deliveries(trial, lambda dice: Fate(delay_seconds=dice.uniform(0, 0.2)))


@messages.add("F4", "deliveries-doubled", tier=2)
def deliveries_doubled(trial: Trial) -> Figures:
    """Each delivery comes twice on the same channel under the same tag."""
    return _with_judged_deliveries(trial, lambda dice: Fate(copies=2))


@messages.add("F5", "malformed", tier=1)
def malformed(trial: Trial) -> Figures:
    """A thousand random and mutated bodies in the shards: each ends as a dead letter with a reason, and no worker
    dies."""
    worker = trial.worker()
    pids = worker.children("taskmesh.app.io_process")
    count = 1000
    bodies = [_mutated(trial.dice) for _ in range(count)]
    trial.watch()
    trial.load(app.diamond, runs=20)
    publish_to_shards(trial.rabbitmq, trial.namespace, SHARDS, bodies)
    trial.struck()
    trial.wait(lambda: len(trial.ledger.dead_letters()) >= count, f"{count} dead letters")
    assert worker.children("taskmesh.app.io_process") == pids, "the I/O process was replaced"
    figures = trial.finish(Bounds(dead_letters_at_most=count))
    assert figures.dead_letters == count
    return figures


def _mutated(dice: random.Random) -> bytes:
    if dice.random() < 0.3:
        return dice.randbytes(dice.randrange(300))
    body = bytearray(encode_message(STRANGER))
    for _ in range(dice.randint(1, 4)):
        body[dice.randrange(len(body))] = dice.randrange(256)
    return bytes(body[: dice.randrange(len(body))] if dice.random() < 0.3 else body)


def _buried(trial: Trial, bodies: list[bytes]) -> Figures:
    """All of these bodies become dead letters, and work goes on."""
    worker = trial.worker()
    pids = worker.children("taskmesh.app.io_process")
    trial.load(app.diamond, runs=10)
    publish_to_shards(trial.rabbitmq, trial.namespace, SHARDS, bodies)
    trial.struck()
    trial.wait(lambda: len(trial.ledger.dead_letters()) >= len(bodies), "dead letters")
    assert worker.children("taskmesh.app.io_process") == pids, "the I/O process was replaced"
    return trial.finish(Bounds(dead_letters_at_most=len(bodies)))


@messages.add("F6", "huge", tier=2)
def huge(trial: Trial) -> Figures:
    """Bodies of several megabytes are refused by their size, before anything is decoded."""
    return _buried(trial, [b"\x00" * (4 << 20), b"\x92" * (2 << 20)])


@messages.add("F7", "unknown-task", tier=1)
def unknown_task(trial: Trial) -> Figures:
    """A flow names a task that no worker has: its node fails with that reason, and its run ends."""
    trial.worker(env={"TASKMESH_WORKER__UNKNOWN_TASK_SECONDS": "1"})
    trial.watch()
    flow = shapes.foreign_flow("nobody.knows:this")
    trial.load(flow, runs=2, batch=1)
    trial.load(app.diamond, runs=10)
    trial.settle()
    trial.struck()
    return trial.finish(Bounds(failing=frozenset({"nobody.knows:this"})))


@messages.add("F8", "version-skew", tier=2)
def version_skew(trial: Trial) -> Figures:
    """Messages of the next schema, of an unknown kind, with fields missing and with fields too many."""
    fields = list(STRANGER)
    return _buried(
        trial,
        [
            pack([MESSAGE_SCHEMA + 1, "node", *fields]),
            pack([MESSAGE_SCHEMA - 1, "node", *fields]),
            pack([MESSAGE_SCHEMA, "other", *fields]),
            pack([MESSAGE_SCHEMA, "node", *fields[:-1]]),
            pack([MESSAGE_SCHEMA, "node", *fields, "more"]),
        ],
    )


@messages.add("F11", "unknown-run-and-future-token", tier=1)
def unknown_run_and_future_token(trial: Trial) -> Figures:
    """Messages of a run that nobody knows, of a node that a run does not have, with a token from the future, and
    with one from the past: none of them makes code run."""
    worker = trial.worker()
    trial.watch()
    trial.submit_one(app.diamond, "known")
    assert trial.mesh.run("known").wait(timeout=60) is RunState.SUCCEEDED
    record = trial.ledger.reader.run("known")
    assert record is not None
    ours = NodeMessage("known", 0, 0, 1, record.flow_hash, "known")
    buried = [STRANGER, ours._replace(node=99), ours._replace(token=10_000)]
    harmless = [ours, ours._replace(token=-5), ours._replace(attempt=1000)]
    bodies = [encode_message(message) for message in [*buried, *harmless]]
    publish_to_shards(trial.rabbitmq, trial.namespace, SHARDS, bodies)
    trial.struck()
    trial.wait(lambda: _shards_are_empty(trial), "acks of the forged messages")
    # Those that are about the same node may be claimed as one; the metrics come a little later.
    trial.wait(lambda: worker.metric("claims_total") > 4, "claims of the forged messages")
    trial.wait(lambda: len(trial.ledger.dead_letters()) >= len(buried) - 1, "dead letters")
    return trial.finish(Bounds(dead_letters_at_most=len(buried)))


def _shards_are_empty(trial: Trial) -> bool:
    counts = waiting(trial.rabbitmq, trial.namespace)
    return not any(count for name, count in counts.items() if not name.endswith(".dead"))


@messages.add("F12", "foreign-encodings", tier=2)
def foreign_encodings(trial: Trial) -> Figures:
    """Pickles, YAML and JSON in the shards are refused without being decoded as such."""
    pickled = b"cos\nsystem\n(S'touch /nowhere'\ntR."
    return _buried(trial, [pickled, b"!!python/object/apply:os.system [id]", b'{"run": "x"}'])


@messages.add("F13", "bombs", tier=2)
def bombs(trial: Trial) -> Figures:
    """Small bodies that claim to be enormous, or are nested a thousand deep."""
    return _buried(
        trial,
        [
            b"\xdd" + struct.pack(">I", 0xFFFFFFFF),
            b"\xdf" + struct.pack(">I", 0x7FFFFFFF),
            b"\xc6" + struct.pack(">I", 0xFFFFFFFF),
            b"\x91" * 2000,
            pack([MESSAGE_SCHEMA, "node"]) + b"trailing",
        ],
    )
