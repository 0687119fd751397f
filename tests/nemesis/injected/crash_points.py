"""Named points at which a process of an experiment kills itself.

They are wrapped around seams of the product when a process starts, so that the product holds no line of them and pays
nothing for them. A seam that is not there any more stops the process at once, and fails a test of its own.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CRASHES = "TASKMESH_TEST_CRASHES"
"""The environment variable with the traps: ``DIRECTORY|POINT:EVERY:TIMES:VICTIM|...``."""

CLOCK = "TASKMESH_TEST_CLOCK_SECONDS"
"""The environment variable with how far the wall clock of a process is wrong."""

SELF, WORKER = "self", "worker"

IO_PROCESS = "taskmesh.app.io_process"
EXECUTOR = "taskmesh.worker.executors.main"
SUBMITTER = "tests.nemesis.submitter"


@dataclass(frozen=True)
class Seam:
    """A method of the product; the point lies ``before`` or after its call, where ``counts`` says that it matters."""

    process: str
    module: str
    method: str
    before: bool
    counts: Callable[..., bool] = lambda *_, **__: True


SEAMS = {
    "delivered": Seam(IO_PROCESS, "taskmesh.worker.engine.engine", "Engine.on_delivery", before=False),
    "claimed": Seam(IO_PROCESS, "taskmesh.worker.engine.intake", "Intake.take", before=True),
    "ended": Seam(IO_PROCESS, "taskmesh.worker.engine.engine", "Engine.on_outcomes", before=True),
    "settled": Seam(
        IO_PROCESS,
        "taskmesh.worker.engine.settling",
        "Settler._publish_then_ack",
        before=True,
        counts=lambda _self, ready, *_: bool(ready),
    ),
    "published": Seam(
        IO_PROCESS,
        "taskmesh.broker.amqp_publisher",
        "RabbitPublisher._flush",
        before=False,
        counts=lambda publisher: len(publisher._window) > 0,
    ),
    "confirmed": Seam(IO_PROCESS, "taskmesh.worker.engine.settling", "Settler._confirmed", before=True),
    "redriven": Seam(
        IO_PROCESS,
        "taskmesh.keeper.keeper",
        "Keeper._publish",
        before=True,
        counts=lambda _self, answered, *_: bool(answered),
    ),
    "recorded": Seam(
        IO_PROCESS,
        "taskmesh.dispatch.ticks",
        "TickRuns.admit",
        before=True,
        counts=lambda _self, recorded, *_: bool(recorded),
    ),
    "ticks begun": Seam(
        IO_PROCESS,
        "taskmesh.keeper.deciding",
        "Decider.settle",
        before=True,
    ),
    "event admitted": Seam(IO_PROCESS, "taskmesh.worker.engine.event_intake", "EventIntake._finish", before=True),
    "event kept": Seam(
        IO_PROCESS,
        "taskmesh.dispatch.events.waits",
        "EventDelivery._deliver",
        before=True,
        counts=lambda _self, hits: bool(hits),
    ),
    "event gathered": Seam(IO_PROCESS, "taskmesh.store.events.batches", "EventBatches.gather_events", before=False),
    "batch closed": Seam(IO_PROCESS, "taskmesh.store.events.batches", "EventBatches.close_batches", before=False),
    "batch begun": Seam(IO_PROCESS, "taskmesh.dispatch.events.batches", "BatchRuns.admit", before=False),
    "batch settled": Seam(IO_PROCESS, "taskmesh.store.events.batches", "EventBatches.settle_batches", before=False),
    "child begun": Seam(
        IO_PROCESS,
        "taskmesh.dispatch.children.children",
        "Children.take_up",
        before=False,
        counts=lambda _self, taken: bool(taken),
    ),
    "child ended": Seam(IO_PROCESS, "taskmesh.dispatch.children.parents", "Parents.tell", before=True),
    "parent told": Seam(IO_PROCESS, "taskmesh.dispatch.children.parents", "Parents.tell", before=False),
    "begun": Seam(EXECUTOR, "taskmesh.worker.executors.invoke", "Invoker.run", before=True),
    "effect": Seam(EXECUTOR, "taskmesh.worker.executors.invoke", "Invoker.run", before=False),
    "admitted": Seam(SUBMITTER, "taskmesh.client.client", "Client._send_off", before=True),
}


@dataclass(frozen=True)
class Trap:
    """Kills at every ``every``-th passing of a point, ``times`` times in all processes of the experiment together.

    ``victim`` is the process itself, or with it the supervisor of its worker.
    """

    point: str
    every: int = 1
    times: int = 1
    victim: str = SELF

    def __str__(self) -> str:
        return f"{self.point}:{self.every}:{self.times}:{self.victim}"

    @classmethod
    def parse(cls, text: str) -> Trap:
        point, every, times, victim = text.split(":")
        return cls(point, int(every), int(times), victim)


def environ_of(directory: Path, traps: tuple[Trap, ...]) -> dict[str, str]:
    """What a process needs in its environment for the traps to be set in it."""
    return {CRASHES: "|".join([str(directory), *map(str, traps)])} if traps else {}


def crashes(directory: Path) -> list[str]:
    """The points at which processes have killed themselves, in order."""
    found = sorted(directory.glob("crash-*"), key=lambda path: path.stat().st_mtime)
    return [path.name.split("-")[1] for path in found]


def arm() -> None:
    """Set the traps that the environment names for this process."""
    if CLOCK in os.environ:
        _shift_clock(float(os.environ[CLOCK]))
    directory, *traps = os.environ.get(CRASHES, "").split("|")
    for trap in map(Trap.parse, traps):
        if SEAMS[trap.point].process in sys.orig_argv:
            _set(trap, Path(directory))


def seam_of(seam: Seam) -> tuple[type, str]:
    """The class and the name of a seam's method."""
    class_name, _, method = seam.method.partition(".")
    owner: type = getattr(importlib.import_module(seam.module), class_name)
    if not callable(getattr(owner, method, None)):
        raise AttributeError(f"{seam.module} has no {seam.method}; tests/nemesis/injected/crash_points.py names it")
    return owner, method


def _set(trap: Trap, directory: Path) -> None:
    seam = SEAMS[trap.point]
    owner, name = seam_of(seam)
    method = getattr(owner, name)
    passed = 0

    def pass_point(*arguments: Any) -> None:
        nonlocal passed
        passed += bool(seam.counts(*arguments))
        if passed and passed % trap.every == 0:
            passed += 1
            _crash(trap, directory)

    @functools.wraps(method)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        if seam.before:
            pass_point(*arguments, *named.values())
            return method(*arguments, **named)
        result = method(*arguments, **named)
        pass_point(*arguments, *named.values())
        return result

    setattr(owner, name, wrapped)


def _crash(trap: Trap, directory: Path) -> None:
    for number in range(trap.times):
        try:
            os.close(os.open(directory / f"crash-{trap.point}-{number}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        if trap.victim == WORKER:
            os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


def _shift_clock(seconds: float) -> None:
    from taskmesh.clock import SystemClock

    def now(_: SystemClock) -> float:
        return time.time() + seconds

    vars_of: Any = SystemClock
    vars_of.now = now
