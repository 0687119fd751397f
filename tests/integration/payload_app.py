"""The app of the tests about large values."""

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


@mesh.task
def numbers(count: int) -> list[int]:
    return list(range(count))


@mesh.task
def square(value: int) -> int:
    return value * value


@mesh.task
def inflate(value: int, size: int) -> bytes:
    return large(str(value), size)


@mesh.task
def total(values: list[int]) -> int:
    return sum(values)


@mesh.task
def digests(values: list[bytes]) -> list[str]:
    return [digest_of(value) for value in values]


@mesh.task
def add_first(value: int, pair: Any) -> int:
    return int(pair["numbers"][-1]) + value


@mesh.task
def grow(rows: list[int] | None, size: int) -> list[int]:
    return [*(rows or []), *range(size)]


@mesh.task
def seconds(size: int) -> dict[str, Any]:
    return {"data": large("seconds", size), "wait": 0.05}


@mesh.task
def length(data: Any) -> int:
    return len(data)


@mesh.task
def labels(count: int) -> list[str]:
    return [f"{number:0120}" for number in range(count)]


@mesh.task
def reverse(text: str) -> str:
    return text[::-1]


@mesh.flow
def mapped(count: int) -> Any:
    """A map over a list that was put aside, whose own list is put aside, too, and mapped over."""
    return length.map(reverse.map(labels(count)))


@mesh.flow
def sliced(count: int) -> Any:
    return total(total.map(numbers(count)).slices(5000))


@mesh.flow
def inflated(count: int, size: int) -> Any:
    """What each item gives back is put aside, and given to one task as one list."""
    return digests(inflate.map(numbers(count), size=size))


@mesh.flow
def handing(size: int) -> Any:
    """A sub-flow that is given a large value, and gives one back."""
    return measured(data=produce(size))


@mesh.flow
def measured(data: Any) -> Any:
    return pass_on(data["data"], data["name"])


@mesh.flow
def handing_later(size: int) -> Any:
    """What a child run gave is needed when that is long forgotten."""
    result = measured(data=produce(size))
    return measure(result).after(mesh.wait_signal("go"))


@mesh.flow
def mapped_later(count: int) -> Any:
    return length.map(labels(count)).after(mesh.wait_signal("go"))


@mesh.flow
def growing(size: int) -> Any:
    """Each iteration gets the large result of the one before; the condition reads it."""
    rows = mesh.repeat(grow, {"size": size}, until="size(output) >= 300000", max_iterations=5, last_as="rows")
    return total(rows)


@mesh.flow
def sharing(size: int, count: int) -> Any:
    """All items are given one large value, which is handed on to their run as it is."""
    return add_first.map(numbers(count), pair=numbered(size))


@mesh.task
def numbered(size: int) -> dict[str, Any]:
    return {"numbers": list(range(size))}


@mesh.flow
def given(data: Any, label: str) -> Any:
    """A parameter that may be large."""
    return pass_on(data, label)


@mesh.flow
def choosing(data: Any) -> Any:
    """Conditions and a sleep over what is large."""
    first = seconds(length(data))
    slept = mesh.sleep(first["wait"]).when("size(params.data) > 10").after(first)
    return measure([first["data"], "chosen"]).when("nodes.seconds.output.wait < 1.0").after(slept)


@mesh.flow(on_failure="compensate")
def undoing(size: int) -> Any:
    return fail(book(size))


@mesh.flow
def asking(size: int) -> Any:
    first = produce(size)
    return measure([first["data"], first["name"]]).when('nodes.produce.output.name == "first"')
