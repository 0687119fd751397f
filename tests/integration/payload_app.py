"""The app of the tests about large outputs."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import time
from pathlib import Path
from typing import Any

from taskmesh import Mesh

mesh = Mesh()


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def large(seed: str, size: int) -> bytes:
    block = hashlib.sha256(seed.encode()).digest()
    return (block * (size // len(block) + 1))[:size]


@mesh.task
def produce(size: int) -> dict[str, Any]:
    return {"data": large("produce", size), "name": "first"}


@mesh.task
def pass_on(data: bytes, label: str) -> list[Any]:
    return [data, f"{label}, passed on"]


@mesh.task
async def apass_on(pair: list[Any]) -> list[Any]:
    await asyncio.sleep(0)
    return pair


@mesh.task
def measure(pair: list[Any]) -> list[Any]:
    return [digest_of(pair[0]), len(pair[0]), pair[1]]


@mesh.task
def stop_before_the_end(size: int, once: str) -> bytes:
    """Hold up the I/O process the first time: what is returned is put aside, and nobody hears of it."""
    try:
        Path(once).touch(exist_ok=False)
    except FileExistsError:
        return large("stop", size)
    os.kill(os.getppid(), signal.SIGSTOP)
    return large("stop", size)


@mesh.task
def book(size: int) -> bytes:
    return large("book", size)


@book.compensate
def unbook(size: int, result: bytes) -> str:
    return digest_of(result)


@mesh.task
def fail(data: bytes) -> None:
    raise ValueError(f"for good, with {len(data)} bytes")


@mesh.task
def wait_for(path: str, data: bytes) -> int:
    while not Path(path).exists():
        time.sleep(0.02)
    return len(data)


@mesh.flow
def chain(size: int) -> Any:
    first = produce(size)
    return measure(apass_on(pass_on(first["data"], first["name"])))


@mesh.flow
def one(size: int) -> Any:
    return produce(size)


@mesh.flow
def gated(size: int, path: str) -> Any:
    return wait_for(path, produce(size)["data"])


@mesh.flow
def stopping(size: int, once: str) -> Any:
    return stop_before_the_end(size, once)


@mesh.flow(on_failure="compensate")
def undoing(size: int) -> Any:
    return fail(book(size))


@mesh.flow
def asking(size: int) -> Any:
    first = produce(size)
    return measure([first["data"], first["name"]]).when('nodes.produce.output.name == "first"')
