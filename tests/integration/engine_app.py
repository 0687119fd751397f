"""The app of the engine's tests. Each task writes its effect to a file that survives every fault."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from taskmesh import Mesh, current_task

mesh = Mesh()


def _leave_mark(word: str) -> None:
    context = current_task()
    line = f"{word} {context.run_id} {context.node} {context.attempt} {os.getpid()} {time.monotonic()}\n"
    mark = os.open(os.environ["TASKMESH_TEST_EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(mark, line.encode())
    finally:
        os.close(mark)


@mesh.task
def echo(value: Any = None) -> Any:
    _leave_mark("echo")
    return value


@mesh.task
def add(items: list[int]) -> int:
    _leave_mark("add")
    return sum(items)


@mesh.task
def nap(seconds: float, after: Any = None) -> float:
    _leave_mark("nap")
    time.sleep(seconds)
    _leave_mark("woke")
    return seconds


@mesh.task
async def anap(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


@mesh.task
def fail(message: str) -> None:
    raise ValueError(message)


@mesh.task
def die_once(marker: str) -> str:
    """Kill the executor the first time."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return "survived"
    os.abort()


@mesh.task
def die_always() -> None:
    os.abort()


@mesh.flow
def diamond(start: int) -> Any:
    first = echo(start)
    return add([echo(first).named("left"), echo(first).named("right")])


@mesh.flow
def fan(width: int = 0) -> Any:
    return add([echo(number) for number in range(100)])


@mesh.flow
def slow_chain(seconds: float) -> Any:
    last = nap(seconds)
    for _ in range(9):
        last = nap(seconds, last)
    return last


@mesh.flow(on_failure="continue")
def half_broken() -> None:
    broken = fail("on purpose")
    echo(broken).named("never")
    echo("fine").named("other")
