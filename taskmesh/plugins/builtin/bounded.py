"""Talks with a child process while it runs: never longer than it may take, never more than it may say."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from taskmesh.clock import Clock
from taskmesh.errors import NodeFailedError

BEAT_SECONDS = 0.5
_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Bounds:
    """``seconds`` for all of it; ``max_bytes`` for each of the pipes."""

    seconds: float
    max_bytes: int


class Conversation:
    """The pipes of a child. ``beat`` is called now and then, and may raise what should end it all."""

    def __init__(self, bounds: Bounds, clock: Clock, beat: Callable[[], None]) -> None:
        self._bounds = bounds
        self._clock = clock
        self._beat = beat

    def read_all(self, pipes: Mapping[str, int]) -> dict[str, bytes]:
        """What comes out of each pipe until all are closed.

        :raises NodeFailedError: it takes too long, or one says too much.
        """
        end = self._clock.monotonic() + self._bounds.seconds
        gathered = {name: bytearray() for name in pipes}
        with selectors.DefaultSelector() as selector:
            for name, pipe in pipes.items():
                selector.register(pipe, selectors.EVENT_READ, name)
            while selector.get_map():
                left = end - self._clock.monotonic()
                if left <= 0:
                    raise NodeFailedError(f"it was ended: it took longer than {self._bounds.seconds:g} s")
                for key, _ in selector.select(min(left, BEAT_SECONDS)):
                    if not self._take(key.fd, gathered[key.data]):
                        selector.unregister(key.fd)
                self._beat()
        return {name: bytes(said) for name, said in gathered.items()}

    def _take(self, pipe: int, into: bytearray) -> bool:
        part = os.read(pipe, _CHUNK)
        into += part
        if len(into) > self._bounds.max_bytes:
            raise NodeFailedError(f"it was ended: it wrote more than {self._bounds.max_bytes} bytes")
        return bool(part)


def give(process: subprocess.Popen[bytes], request: bytes) -> None:
    """Write a child's input and close it; a child that ends before it has read all says why in another way."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(request)
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
