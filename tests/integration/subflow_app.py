"""Flows that begin other flows. Each task writes its effect to a file that survives every fault."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from taskmesh import Mesh, Retry, current_task
from tests.integration.marks import leave_mark

mesh = Mesh()


@mesh.task
def double(value: int) -> int:
    leave_mark("double")
    return value * 2


@mesh.task
def gate(path: str, value: Any = None) -> Any:
    """Go on when the file is there."""
    leave_mark("gate")
    while not Path(path).exists():
        current_task().heartbeat()
        time.sleep(0.02)
    return value


@mesh.task
def need(path: str, value: Any = None) -> Any:
    """Fail while the file is not there."""
    leave_mark("need")
    if not Path(path).exists():
        raise FileNotFoundError(path)
    return value


@mesh.task
def take(value: int) -> int:
    leave_mark("take")
    return value


@take.compensate
def give_back(value: int, result: int) -> None:
    leave_mark("give_back")


@mesh.flow
def inner(value: int) -> Any:
    return double(double(value))


@mesh.flow
def outer(value: int) -> Any:
    return double(inner(double(value)))


@mesh.flow
def waiting(path: str) -> Any:
    return gate(path, 1)


@mesh.flow
def outer_waiting(path: str) -> Any:
    return double(waiting(path))


@mesh.flow
def deep_waiting(path: str) -> Any:
    return double(outer_waiting(path))


@mesh.flow
def leaving(path: str) -> Any:
    return mesh.subflow(waiting, {"path": path}, on_parent_close="abandon")


@mesh.flow
def needing(path: str) -> Any:
    return need(path, 21)


@mesh.flow
def outer_needing(path: str) -> Any:
    return double(needing(path))


@mesh.flow
def trying(path: str) -> Any:
    return mesh.subflow(needing, {"path": path}, retry=Retry(max_attempts=2, wait="fixed", base_seconds=0.2))


@mesh.flow
def in_time(path: str) -> Any:
    return mesh.subflow(waiting, {"path": path}, timeout=1.0)


@mesh.flow
def taking(value: int) -> Any:
    return take(take(value))


@mesh.flow(on_failure="compensate")
def saga(path: str) -> Any:
    return need(path, taking(take(1)))


@mesh.flow(on_failure="compensate")
def parallel_saga(path: str, never: str) -> Any:
    begun = take(1)
    half = mesh.subflow(half_done, {"path": never}).after(begun)
    return [half, need(path, gate_after(half, begun))]


@mesh.task
def gate_after(half: Any, begun: int) -> int:
    return begun


@mesh.flow
def half_done(path: str) -> Any:
    return gate(path, take(2))


@mesh.flow
def named(value: int) -> Any:
    return double(mesh.subflow("inner", {"value": value}))


@mesh.flow
def countdown(value: int) -> Any:
    less = less_one(value)
    return mesh.subflow("countdown", {"value": less}).when("nodes.less_one.output > 0")


@mesh.task
def less_one(value: int) -> int:
    leave_mark("less_one")
    return value - 1


@mesh.task
def climb(value: int, before: int | None = None) -> int:
    leave_mark("climb")
    return value + (before or 0)


@mesh.flow
def climbing(value: int) -> Any:
    return double(mesh.repeat(climb, {"value": value}, until="output >= 10", max_iterations=6, last_as="before"))


@mesh.flow
def endless(value: int) -> Any:
    return mesh.subflow("endless", {"value": value})
