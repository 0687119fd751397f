"""The app that taskmesh runs in the benchmark: tasks that do nothing."""

from __future__ import annotations

from taskmesh import Mesh

mesh = Mesh()


@mesh.task
def noop(value: int = 0) -> int:
    return value


@mesh.task
def join(items: list[int]) -> int:
    return len(items)


@mesh.task
def step(value: int) -> int:
    return value + 1
