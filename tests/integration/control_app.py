"""Tasks that fail until they are let pass, and a caller that dies half-way."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from taskmesh import Mesh
from tests.integration.marks import leave_mark

mesh = Mesh()

WIDTH = 450
"""More nodes than one script resets."""


@mesh.task
def gate(path: str, value: Any = None) -> Any:
    """Fail while the file is not there."""
    leave_mark("gate")
    if not Path(path).exists():
        raise FileNotFoundError(path)
    return value


@mesh.task
def double(value: int) -> int:
    leave_mark("double")
    return value * 2


@mesh.task
def total(values: list[int]) -> int:
    leave_mark("total")
    return sum(values)


@mesh.flow
def wide(path: str) -> Any:
    passed = gate(path, 1)
    return total([double(passed) for _ in range(WIDTH)])


@mesh.flow
def deep(path: str) -> Any:
    """Of its many nodes all but the last can be taken over."""
    return gate(path, total([double(1) for _ in range(WIDTH)])).named("last")


@mesh.flow(timeout=3600)
def shop(size: int, price: int, path: str) -> Any:
    made = double(size).named("made")
    priced = total([made, price]).named("priced")
    return gate(path, priced).named("sold")


@mesh.task(pool="nobody")
def never(value: int) -> int:
    """No worker serves its pool."""
    return value


@mesh.flow
def endless(size: int) -> Any:
    return never(double(size).named("made")).named("held")


@mesh.task
def reserve(what: str) -> str:
    leave_mark("reserve")
    return what


@reserve.compensate
def release(what: str, result: str) -> None:
    leave_mark("release")


@mesh.flow(on_failure="compensate")
def trip(path: str) -> Any:
    flight = reserve("flight").named("flight")
    hotel = reserve("hotel").named("hotel").after(flight)
    return gate(path).named("paid").after(hotel)


@mesh.flow(on_failure="continue")
def branches(path: str, left: int, right: int) -> Any:
    return total([double(left).named("left"), gate(path, right).named("right"), double(left).named("other")]).named(
        "all"
    )


def die_at(namespace: str, broker: str, store: str, run_id: str, method: str, call: int, new_id: str) -> None:
    """Retry a run, or fork it where there is a ``new_id``, and die by SIGKILL at a certain call of the store."""
    from taskmesh.store.controls import Controls

    real, calls = getattr(Controls, method), [0]

    def counted(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            os.kill(os.getpid(), 9)
        return real(*arguments)

    setattr(Controls, method, counted)
    run = Mesh(namespace=namespace, broker={"url": broker, "shards": 4}, store={"url": store}).run(run_id)
    if new_id:
        run.fork("last", id=new_id, reason="again")
    else:
        run.retry("again")


if __name__ == "__main__":
    die_at(*sys.argv[1:6], call=int(sys.argv[6]), new_id="".join(sys.argv[7:]))
