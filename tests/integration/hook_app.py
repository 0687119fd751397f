"""Flows with hooks, which leave a mark of what they were told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from taskmesh import Mesh
from tests.integration.marks import leave_mark

mesh = Mesh()


@mesh.task
def gate(path: str) -> str:
    """Fail while the file is not there."""
    leave_mark("gate")
    if not Path(path).exists():
        raise FileNotFoundError("it is shut")
    return "open"


@mesh.task
def undo_gate() -> None:
    leave_mark("undo_gate")


@mesh.task
def step(value: Any = None) -> Any:
    leave_mark("step")
    return value


@mesh.task
def tell(*, status: str, node: str | None, error: dict[str, str] | None) -> list[Any]:
    leave_mark("tell")
    return [status, node, error and error["message"]]


@mesh.task
def break_down() -> None:
    leave_mark("break_down")
    raise ValueError("no hook worth the name")


def _tell() -> Any:
    return tell(status=mesh.ended["status"], node=mesh.ended["node"], error=mesh.ended["error"])


@mesh.flow
def guarded(path: str) -> Any:
    first = step(1).named("first").on_failure(_tell()).finally_(_tell())
    passed = gate(path).named("gate").after(first).on_success(_tell()).on_failure(_tell()).finally_(break_down())
    mesh.on_success(_tell())
    mesh.on_failure(_tell())
    mesh.finally_(_tell())
    return step(passed).named("last")
