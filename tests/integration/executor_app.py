"""The app that the executor tests load: one task for each thing that user code may do."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

from taskmesh.tasks.registry import Registry
from taskmesh.tasks.task import make_task
from taskmesh.worker.executors.invoke import current

registry = Registry()


def task(function: Any) -> Any:
    registry.add(make_task(function, name=function.__name__))
    return function


@task
def noop() -> None:
    return None


@task
def log(level: str, text: str) -> None:
    logging.getLogger("executor_app").log(logging.getLevelNamesMapping()[level], text)


@task
def add(a: int, b: int) -> int:
    return a + b


@task
def pid() -> int:
    return os.getpid()


@task
def who() -> str:
    return current().idempotency_key


@task
def mark_and_wait(started: str, until: str) -> int:
    """Tells that it runs by making a file; goes on when another exists."""
    _touch_and_wait(started, until)
    return os.getpid()


@task
def hold_interpreter(started: str, seconds: int) -> None:
    """Lets no other thread run, as native code can."""
    pathlib.Path(started).touch()
    ctypes.PyDLL(None).sleep(seconds)


@task
def allocate(mebibytes: int) -> int:
    return len(bytearray(mebibytes * 1024 * 1024))


@task
def segfault() -> None:
    ctypes.string_at(0)


@task
def leave(code: int) -> None:
    sys.exit(code)


@task
def unpackable() -> object:
    return object()


@task
def noisy(text: str) -> None:
    print(text)
    os.write(1, b"and to the descriptor itself\n")


@task
def close_everything() -> None:
    os.closerange(3, 256)


@task
def child_group() -> int:
    """Starts a program that would outlive this process."""
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid


@task
async def async_leave() -> None:
    sys.exit(4)


@task
async def meet(started: str, until: str) -> None:
    await asyncio.to_thread(_touch_and_wait, started, until)


@task
def modules() -> list[str]:
    return sorted(sys.modules)


def _touch_and_wait(started: str, until: str) -> None:
    pathlib.Path(started).touch()
    while not pathlib.Path(until).exists():
        time.sleep(0.005)
