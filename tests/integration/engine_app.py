"""The app of the engine's tests. Each task writes its effect to a file that survives every fault."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from typing import Any

from taskmesh import Mesh, Retry, current_task
from tests.integration.marks import leave_mark

mesh = Mesh()


@mesh.task
def echo(value: Any = None) -> Any:
    leave_mark("echo")
    return value


@mesh.task
def add(items: list[int]) -> int:
    leave_mark("add")
    return sum(items)


@mesh.task
def nap(seconds: float, after: Any = None) -> float:
    leave_mark("nap")
    time.sleep(seconds)
    leave_mark("woke")
    return seconds


@mesh.task
async def anap(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


@mesh.task
def fail(message: str, after: Any = None) -> None:
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


@mesh.task
def stamp(before: list[str], seconds: float = 0.0) -> list[str]:
    """Adds what no other execution would add: so the result tells which executions were built upon."""
    leave_mark("stamp")
    time.sleep(seconds)
    return [*before, secrets.token_hex(8)]


@mesh.task
def executor(seconds: float) -> int:
    """Tells which process ran it."""
    leave_mark("executor")
    time.sleep(seconds)
    return os.getpid()


@mesh.flow
def stamped(seconds: float = 0.05) -> Any:
    last: Any = []
    for number in range(8):
        last = stamp(last, seconds).named(f"n{number}")
    return last


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


@mesh.task(retry=Retry(max_attempts=5, wait="fixed", base_seconds=0.3))
def flaky(good_at: int) -> int:
    """Fail until the attempt with this number."""
    leave_mark("flaky")
    attempt = current_task().attempt
    if attempt < good_at:
        raise ConnectionError(f"attempt {attempt} on purpose")
    return attempt


@mesh.task(retry=Retry(max_attempts=5, base_seconds=0.01, retry_on=[OSError], give_up_on=["FileNotFoundError"]))
def picky(kind: str) -> None:
    leave_mark("picky")
    raise {"missing": FileNotFoundError, "refused": ConnectionRefusedError, "value": ValueError}[kind](kind)


@mesh.task
def told_when(seconds: float, good_at: int) -> int:
    """Ask to be tried again, with no policy of its own."""
    leave_mark("told_when")
    attempt = current_task().attempt
    if attempt < good_at:
        raise Retry("busy", after=seconds)
    return attempt


@mesh.task(timeout=0.5, retry=Retry(max_attempts=3, wait="fixed", base_seconds=0.1))
def slow_at_first(good_at: int) -> int:
    """Overrun the time limit until the attempt with this number."""
    leave_mark("slow")
    attempt = current_task().attempt
    if attempt < good_at:
        time.sleep(60)
    return attempt


@mesh.task(timeout=0.3)
async def aslow() -> None:
    await asyncio.sleep(60)


@mesh.task(schedule_to_close=1.0, retry=Retry(max_attempts=100, wait="fixed", base_seconds=0.4))
def hopeless() -> None:
    leave_mark("hopeless")
    raise ConnectionError("on purpose")


@mesh.task(schedule_to_close=0.5)
def sleepy() -> None:
    time.sleep(60)


@mesh.task(schedule_to_start=0.5)
def urgent() -> str:
    return "in time"


@mesh.task(retry=Retry(max_attempts=2, wait="fixed", base_seconds=3600))
def far_away() -> None:
    leave_mark("far_away")
    raise ConnectionError("on purpose")


@mesh.flow
def far_and_broken() -> None:
    far_away()
    fail("for good", nap(0.5))


@mesh.task(retry=Retry(max_attempts=2, wait="fixed", base_seconds=4))
def twice() -> int:
    leave_mark("twice")
    if current_task().attempt == 1:
        raise ConnectionError("on purpose")
    return current_task().attempt


@mesh.task(heartbeat_timeout=0.6, retry=Retry(max_attempts=3, wait="fixed", base_seconds=0.1))
def climb(steps: int, falls_silent: bool) -> list[int]:
    """Go on from the last checkpoint; the first attempt stops half-way, by a failure or by saying nothing any more."""
    context = current_task()
    leave_mark("climb")
    begun = context.checkpoint or 0
    for step in range(begun, steps):
        context.heartbeat(step)
        time.sleep(0.2)
        if context.attempt == 1 and step == steps // 2:
            if falls_silent:
                time.sleep(60)
            raise ConnectionError("half-way, on purpose")
    return [context.attempt, begun]


@mesh.task(retry=Retry(max_attempts=3, wait="fixed", base_seconds=0.1))
def until_told() -> None:
    leave_mark("until_told")
    while True:
        current_task().heartbeat()
        time.sleep(0.01)


@mesh.task(retry=Retry(max_attempts=3, wait="fixed", base_seconds=0.1))
async def auntil_told() -> None:
    while not current_task().cancelled:
        current_task().heartbeat({"at": time.time()})
        await asyncio.sleep(0.01)
    current_task().heartbeat()


@mesh.task
def take(what: str, after: Any = None) -> str:
    leave_mark("take")
    return f"{what} taken"


@take.compensate(retry=Retry(max_attempts=3, wait="fixed", base_seconds=0.05))
def give_back(what: str, result: str, gate: str = "") -> str:
    """Leave one mark before and one after a while; fail as long as a file with the name of what is taken exists."""
    assert result == f"{what} taken"
    leave_mark("giving")
    if os.path.exists(what):
        raise ConnectionError(f"{what} is locked")
    time.sleep(0.1)
    leave_mark("given")
    return what


@mesh.flow(on_failure="compensate")
def saga(lock: str = "nowhere") -> None:
    """Two branches of what can be undone, with a node between that cannot, and a tail that fails."""
    first = take("first")
    between = echo(first)
    left, right = take(lock, between).named("left"), take("right", between).named("right")
    fail("for good", [left, right])


@mesh.flow(on_failure="compensate")
def saga_of_nothing() -> None:
    take("never", fail("at once"))


@mesh.flow
def long_saga() -> None:
    nap(60, take("first"))


@mesh.flow(on_failure="compensate")
def long_way_back() -> None:
    last = None
    for _ in range(10):
        last = take("step", last)
    fail("for good", last)
