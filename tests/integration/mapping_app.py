"""Flows that map tasks over lists. Each task writes its effect to a file that survives every fault."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from taskmesh import Mesh, current_task
from tests.integration.marks import leave_mark

mesh = Mesh()


@mesh.task
def listing(count: int) -> list[int]:
    return [*range(count)]


@mesh.task
def square(value: int, factor: int = 1) -> int:
    leave_mark("square")
    return factor * value * value


@mesh.task
def total(values: list[int]) -> int:
    return sum(values)


@mesh.task
def pick(value: int, unlucky: list[int]) -> int:
    leave_mark("pick")
    if value in unlucky:
        raise ValueError(f"unlucky {value}")
    return value


@mesh.task
def gate(value: int, path: str) -> int:
    """Go on when the file is there."""
    leave_mark("gate")
    while not Path(path).exists():
        current_task().heartbeat()
        time.sleep(0.02)
    leave_mark("passed")
    return value


@mesh.task
def batch(values: list[int]) -> list[Any]:
    return [current_task().idempotency_key, values]


@mesh.task
def large(value: int) -> str:
    return "x" * 200_000


@mesh.task
def book(value: int, unlucky: int) -> int:
    leave_mark("book")
    if value == unlucky:
        raise ValueError(f"unlucky {value}")
    return value


@book.compensate
def unbook(value: int) -> None:
    leave_mark("unbook")


@mesh.task
def need(path: str, values: list[int]) -> int:
    """Fail while the file is not there."""
    if not Path(path).exists():
        raise FileNotFoundError(path)
    return len(values)


@mesh.flow(version="1")
def squares(count: int, factor: int = 1) -> Any:
    return total(square.map(listing(count), factor=factor))


@mesh.flow(version="1")
def twice(count: int) -> Any:
    return square.map(square.map(listing(count)))


@mesh.flow(version="1")
def row(values: list, factor: int) -> Any:  # type: ignore[type-arg]
    return total(square.map(values, factor=factor))


@mesh.flow(version="1")
def rows(values: list, factor: int) -> Any:  # type: ignore[type-arg]
    return row.map(values, factor=factor).max_in_flight(2)


@mesh.flow(version="1")
def crossed() -> Any:
    return square.map({"value": [1, 2], "factor": [10, 100]})


@mesh.flow(version="1")
def strict(count: int, unlucky: list[int]) -> Any:
    return pick.map(listing(count), unlucky=unlucky)


@mesh.flow(version="1")
def lenient(count: int, unlucky: list[int]) -> Any:
    return pick.map(listing(count), unlucky=unlucky).on_item_failure("continue", min_success=0.9)


@mesh.task
def mend(value: int, unlucky: list[int], path: str) -> int:
    """Some fail while the file is not there."""
    leave_mark("mend")
    if value in unlucky and not Path(path).exists():
        raise ValueError(f"unlucky {value}")
    return value


@mesh.flow(version="1")
def mended(count: int, unlucky: list[int], path: str) -> Any:
    values = mend.map(listing(count), unlucky=unlucky, path=path)
    return values.max_in_flight(4).on_item_failure("continue")


@mesh.flow(version="1")
def bounded(count: int, path: str) -> Any:
    return gate.map(listing(count), path=path).max_in_flight(3)


@mesh.flow(version="1")
def sliced(values: list[int]) -> Any:
    return batch.map(values).slices(10)


@mesh.flow(version="1")
def too_large() -> Any:
    return large.map(listing(6))


@mesh.flow(version="1", on_failure="compensate")
def booked(count: int, unlucky: int) -> Any:
    return book.map(listing(count), unlucky=unlucky).max_in_flight(1)


@mesh.flow(version="1", on_failure="compensate")
def booked_before(count: int, path: str) -> Any:
    return need(path, book.map(listing(count), unlucky=-1))


@mesh.flow(version="1")
def not_a_list() -> Any:
    return square.map(total([1, 2]))
