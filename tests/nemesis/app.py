"""The app of the experiments: flows of several shapes whose tasks leave a mark that survives every fault."""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from taskmesh import Mesh, Retry, current_task
from tests.nemesis.effects import EFFECTS, leave_begin, leave_end

FAILS, TRIPS = "fail", "trip"
UNDOES = "give_back"
RANDOM_SHAPES = 5

mesh = Mesh()


@mesh.task(name="step")
def step(seconds: float = 0.0, parents: Sequence[str] = ()) -> str:
    """Give back a word that no other execution gives; what dependents got shows whose end was recorded."""
    leave_begin()
    time.sleep(seconds)
    return leave_end(parents)


@mesh.task(name=FAILS)
def fail(parents: Sequence[str] = ()) -> None:
    leave_begin()
    leave_end(parents)
    raise ValueError("on purpose")


@mesh.task(name="hog")
def hog(seconds: float) -> str:
    """Hold the interpreter's lock, as native code does that never lets go of it."""
    leave_begin()
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))
    return leave_end(())


@mesh.task(name="eat")
def eat(megabytes: int) -> str:
    """Use memory, page by page."""
    leave_begin()
    eaten = [os.urandom(1 << 20) for _ in range(megabytes)]
    return leave_end((str(len(eaten)),))


@mesh.task(name="die")
def die(number: int) -> None:
    """Die by a signal, as of a bug in native code."""
    leave_begin()
    os.kill(os.getpid(), number)


@mesh.task(name="exhaust")
def exhaust() -> None:
    leave_begin()
    raise MemoryError("no more of it")


@mesh.task(name="flaky", retry=Retry(max_attempts=20, wait="fixed", base_seconds=0.4))
def flaky(parents: Sequence[str] = ()) -> str:
    """Succeed with the third attempt."""
    leave_begin()
    if current_task().attempt < 3:
        raise ValueError("not yet")
    return leave_end(parents)


@mesh.flow
def persistent() -> Any:
    return flaky([flaky(), flaky()])


@mesh.flow
def one(seconds: float = 0.0) -> Any:
    return step(seconds)


@mesh.flow
def diamond(seconds: float = 0.0) -> Any:
    first = step(seconds)
    return step(seconds, [step(seconds, [first]).named("left"), step(seconds, [first]).named("right")])


@mesh.flow
def chain(seconds: float = 0.0) -> Any:
    last = step(seconds)
    for _ in range(19):
        last = step(seconds, [last])
    return last


@mesh.flow
def fan(seconds: float = 0.0) -> Any:
    """Two hundred and ten at once, then one: more than one script may tell."""
    first = step(seconds)
    return step(seconds, [step(seconds, [first]) for _ in range(210)])


@mesh.flow
def lattice(late: float) -> Any:
    """Two hundred and ten that need two each, one of which takes longer."""
    needs = [step(), step(late)]
    return step(0.0, [step(0.0, needs) for _ in range(210)])


@mesh.flow(shard_by="node")
def spread(seconds: float = 0.0) -> Any:
    """Its nodes go over all shards, not only those of its run."""
    first = step(seconds)
    return step(seconds, [step(seconds, [first]) for _ in range(20)])


@mesh.flow(on_failure="continue")
def half(seconds: float = 0.0) -> None:
    broken = fail()
    step(seconds, [broken]).named("never")
    step(seconds).named("other")


@mesh.flow
def hogs(seconds: float) -> Any:
    return hog(seconds)


@mesh.flow
def eats(megabytes: int) -> Any:
    return eat(megabytes)


@mesh.flow
def dies(number: int = int(signal.SIGSEGV)) -> Any:
    return die(number)


@mesh.flow
def exhausts() -> Any:
    return exhaust()


@mesh.task(name="take")
def take(seconds: float = 0.0, undo_seconds: float = 0.0, parents: Sequence[str] = ()) -> str:
    """Do what can be undone."""
    leave_begin()
    time.sleep(seconds)
    return leave_end(parents)


@mesh.task(name=TRIPS)
def trip(seconds: float = 0.0, undo_seconds: float = 0.0, parents: Sequence[str] = ()) -> None:
    """Fail, though it could be undone had it succeeded."""
    leave_begin()
    time.sleep(seconds)
    leave_end(parents)
    raise ValueError("on purpose")


@take.compensate(name=UNDOES, retry=Retry(max_attempts=3, wait="fixed", base_seconds=0.1))
def give_back(result: str, undo_seconds: float) -> str:
    """Undo ``take``; ``refusals`` says which undos fail, and for how many attempts."""
    leave_begin()
    context = current_task()
    # One of two branches takes longer, so that what waits for both is seen to.
    time.sleep(undo_seconds * (3 if context.node == "undo:right" else 1))
    if context.attempt <= refusals().get(context.node, 0):
        raise ConnectionError("not now")
    return leave_end([result])


@trip.compensate(name="never")
def never(result: str, undo_seconds: float) -> str:
    """Undo what has never been done."""
    leave_begin()
    return leave_end([result])


def refusals() -> dict[str, int]:
    """By the name of an undo, the number of attempts that fail."""
    try:
        found: dict[str, int] = json.loads(refusals_file(Path(os.environ[EFFECTS])).read_text())
    except FileNotFoundError:
        return {}
    return found


def refusals_file(effects: Path) -> Path:
    """What an experiment writes for ``refusals`` to read."""
    return effects.with_suffix(".refusals")


def _saga(trips_at: str) -> Any:
    def shape(seconds: float = 0.0, undo_seconds: float = 0.0) -> Any:
        """Two branches of what can be undone, with a node between that cannot."""

        def add(name: str, *parents: Any) -> Any:
            return (trip if name == trips_at else take)(seconds, undo_seconds, list(parents)).named(name)

        first = add("first")
        left, right = add("left", first), add("right", step(seconds, [first]).named("between"))
        return add("last", add("join", left, right))

    return mesh.flow(name=f"saga-{trips_at or 'well'}", on_failure="compensate")(shape)


SAGA_NODES = ("first", "left", "right", "join", "last")
saga_that_ends_well = _saga("")
sagas = {name: _saga(name) for name in SAGA_NODES}
"""Sagas, by the node that fails."""


BRINK, BRINK_SECONDS = "brink", 0.4


@mesh.task(name=BRINK, timeout=BRINK_SECONDS)
def brink() -> str:
    """End at the very moment at which the time is over."""
    leave_begin()
    time.sleep(BRINK_SECONDS + random.uniform(-0.1, 0.1))
    return leave_end(())


@mesh.flow
def brinks() -> Any:
    return step(0.0, [brink()])


DEPENDENCY, FAILURES, RESET_SECONDS, RAMP_SECONDS = "dependency", 5, 2.0, 2.0
mesh.breaker(DEPENDENCY, failures=FAILURES, reset_seconds=RESET_SECONDS, ramp_seconds=RAMP_SECONDS)


@mesh.task(name="use", breaker=DEPENDENCY, retry=Retry(max_attempts=100, wait="fixed", base_seconds=0.05))
def use() -> str:
    """Use a dependency that is away while there is a file."""
    leave_begin()
    if outage_file(Path(os.environ[EFFECTS])).exists():
        raise ConnectionRefusedError("the dependency is away")
    return leave_end(())


def outage_file(effects: Path) -> Path:
    return effects.with_suffix(".outage")


@mesh.flow
def uses() -> Any:
    return use()


@mesh.task(name="weigh")
def weigh(size: int, parents: Sequence[dict[str, str]] = ()) -> dict[str, str]:
    """Give back a word and a ballast of ``size`` bytes."""
    leave_begin()
    assert all(len(parent["ballast"]) == size for parent in parents)
    return {"word": leave_end([parent["word"] for parent in parents]), "ballast": "x" * size}


@mesh.flow
def heavy(size: int) -> Any:
    first = weigh(size)
    return weigh(size, [weigh(size, [first])])


def _random_shape(seed: int) -> Any:
    def shape(seconds: float = 0.0) -> Any:
        dice = random.Random(seed)
        nodes: list[Any] = []
        for _ in range(dice.randint(5, 25)):
            nodes.append(step(seconds, dice.sample(nodes, min(len(nodes), dice.randint(0, 3)))))
        return nodes[-1]

    return mesh.flow(name=f"random-{seed}")(shape)


random_shapes = tuple(_random_shape(seed) for seed in range(RANDOM_SHAPES))
