"""A child process that is joined to this one by a channel."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from taskmesh.worker.channels.channel import LoopChannel

SETTLED_AFTER_SECONDS = 5.0
"""A child that lived this long did not die of how it was started."""

FIRST_DELAY_SECONDS = 0.1
LAST_DELAY_SECONDS = 10.0

CLOSED_GRACE_SECONDS = 4.0
"""A child that ends in good order closes its channel earlier than it exits, on a busy machine by a second or two."""


class Child:
    """Runs ``python -m module --fd N arguments``; calls back on the loop for its messages, and once for its end.

    Everything that the child sent before its end is handed over before ``on_exit`` is called.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        on_messages: Callable[[list[Any]], None],
        on_exit: Callable[[str], None],
    ) -> None:
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self.exited = asyncio.Event()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = _spawn(module, theirs.fileno(), arguments)
        self._channel = LoopChannel(ours, on_messages, self._closed)
        self._channel.open(self._loop)
        threading.Thread(target=self._await_exit, name=f"wait-{self.pid}", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.returncode

    def send(self, message: object) -> None:
        self._channel.send(message)

    def kill(self) -> None:
        """End it at once, with every process that it started and that stayed in its group."""
        if not self.exited.is_set():
            self._kill_group()

    async def end(self, grace_seconds: float) -> None:
        """Wait for it to end by itself, then kill it; returns when it is gone."""
        try:
            async with asyncio.timeout(grace_seconds):
                await self.exited.wait()
        except TimeoutError:
            self.kill()
            await self.exited.wait()

    def _closed(self) -> None:
        self._loop.call_later(CLOSED_GRACE_SECONDS, self.kill)

    def _await_exit(self) -> None:
        self._process.wait()
        # A loop that has been closed has nobody left who could want to know.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._exited)

    def _exited(self) -> None:
        self._kill_group()
        self._channel.close()
        self.exited.set()
        self._on_exit(exit_sentence(self._process.returncode))

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


class RestartDelay:
    """How long to wait before a child is started again: longer after each that died young."""

    def __init__(self) -> None:
        self._died_young = 0

    def after(self, lived_seconds: float) -> float:
        """Seconds to wait. The first early death costs nothing: only a series is a sign of trouble."""
        if lived_seconds >= SETTLED_AFTER_SECONDS:
            self._died_young = 0
            return 0.0
        self._died_young += 1
        if self._died_young == 1:
            return 0.0
        return float(min(LAST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** min(self._died_young - 2, 16)))


def exit_sentence(code: int) -> str:
    if code >= 0:
        return f"it ended with exit code {code}"
    try:
        return f"it was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"it was killed by signal {-code}"


def _spawn(module: str, fd: int, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    # A process group of its own: Ctrl-C in a terminal is for the supervisor alone, which tells the others.
    return subprocess.Popen(
        [sys.executable, "-m", module, "--fd", str(fd), *arguments],
        pass_fds=(fd,),
        stdin=subprocess.DEVNULL,
        process_group=0,
    )
