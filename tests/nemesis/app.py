"""The app of the experiments: flows of several shapes whose tasks leave a mark that survives every fault."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import time
from collections.abc import Sequence
from typing import Any

from taskmesh import Mesh, Retry, current_task
from taskmesh.model.flow import Flow, Node
from taskmesh.model.validation import complete
from tests.nemesis.effects import leave_begin, leave_end

FAILS = "fail"
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


def checked(name: str, nodes: Sequence[Node]) -> Flow:
    """A flow of given nodes."""
    return complete(Flow(name=name, version="1", nodes=tuple(nodes)))


def foreign_flow(task: str) -> Flow:
    """A flow with a task that this app does not have, between two that it has."""
    names = ("first", "foreign", "last")
    tasks = ("step", task, "step")
    needs: tuple[tuple[str, ...], ...] = ((), names[:1], names[1:2])
    return checked("foreign", [Node(n, t, needs=of) for n, t, of in zip(names, tasks, needs, strict=True)])


def layered_flow(name: str, layers: int, width: int, parents: int, seed: int) -> Flow:
    """Layers of nodes, each of which needs some of the layer before."""
    dice = random.Random(seed)
    nodes: list[Node] = []
    above: list[str] = []
    for layer in range(layers):
        names = [f"n{layer}_{place}" for place in range(width)]
        for each in names:
            needs = tuple(sorted(dice.sample(above, min(parents, len(above)))))
            nodes.append(Node(each, "step", {"parents": [f"${{nodes.{need}.output}}" for need in needs]}, needs))
        above = names
    return checked(name, nodes)


def _random_shape(seed: int) -> Any:
    def shape(seconds: float = 0.0) -> Any:
        dice = random.Random(seed)
        nodes: list[Any] = []
        for _ in range(dice.randint(5, 25)):
            nodes.append(step(seconds, dice.sample(nodes, min(len(nodes), dice.randint(0, 3)))))
        return nodes[-1]

    return mesh.flow(name=f"random-{seed}")(shape)


random_shapes = tuple(_random_shape(seed) for seed in range(RANDOM_SHAPES))
