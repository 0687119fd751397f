"""The app that taskmesh runs in the benchmark: tasks that do nothing."""

from __future__ import annotations

from taskmesh import Mesh, Retry

mesh = Mesh()


@mesh.task
def noop(value: int = 0) -> int:
    return value


@mesh.task
def join(items: list[int]) -> int:
    return len(items)


@mesh.task(retry=Retry(max_attempts=5), timeout=30, schedule_to_start=600, schedule_to_close=900)
def careful_noop(value: int = 0) -> int:
    return value


@mesh.task(retry=Retry(max_attempts=5), timeout=30, schedule_to_start=600, schedule_to_close=900)
def careful_join(items: list[int]) -> int:
    return len(items)


@mesh.task
def step(value: int) -> int:
    return value + 1
