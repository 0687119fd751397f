"""Child processes that never outlive the tests, and whose output can be waited for and shown."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.02
STOP_SECONDS = 10.0


class Process:
    """One child process. Its output goes to a file, so a full pipe can never stop it."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Start ``command``; ``env`` is added to this process's environment."""
        self.command = tuple(command)
        self.log = log
        with log.open("ab") as output:
            self._offset = output.tell()
            self._child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                preexec_fn=_end_with_parent,
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child.poll() is None

    @property
    def output(self) -> str:
        """Everything that it wrote since it started."""
        with self.log.open("rb") as log:
            log.seek(self._offset)
            return log.read().decode(errors="replace")

    def tail(self, lines: int = 60) -> str:
        return "\n".join(self.output.splitlines()[-lines:])

    def wait(self, timeout_seconds: float = STOP_SECONDS) -> int:
        """Its exit code; negative for the signal that ended it."""
        try:
            return self._child.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(self._story(f"still ran after {timeout_seconds:g} s")) from None

    def wait_for(self, condition: Callable[[], bool], what: str, timeout_seconds: float = 30.0) -> None:
        """Wait until ``condition`` holds; fails at once, with the output, when the process ends first."""
        deadline = monotonic() + timeout_seconds
        while not condition():
            if not self.running and not condition():
                raise AssertionError(self._story(f"ended with {self._child.returncode} before {what}"))
            if monotonic() > deadline:
                raise AssertionError(self._story(f"gave no {what} within {timeout_seconds:g} s"))
            self._pause()

    def wait_for_line(self, pattern: str, timeout_seconds: float = 30.0) -> re.Match[str]:
        """Wait until a line of the output matches; gives the match."""
        expression = re.compile(pattern, re.MULTILINE)
        self.wait_for(lambda: expression.search(self.output) is not None, f"line like {pattern!r}", timeout_seconds)
        match = expression.search(self.output)
        assert match is not None
        return match

    def signal(self, number: int) -> None:
        """Send a signal; nothing when it has ended."""
        self._child.send_signal(number)

    def terminate(self, timeout_seconds: float = STOP_SECONDS) -> int:
        """SIGTERM, and the exit code. One that does not end in time is killed, and that fails the test."""
        self.signal(signal.SIGTERM)
        try:
            return self.wait(timeout_seconds)
        finally:
            self.kill9()

    def kill9(self) -> None:
        """SIGKILL, and reap."""
        self._child.kill()
        self._child.wait()

    def _pause(self) -> None:
        try:
            self._child.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            return
        # It has ended; what it was waited for may still become true through others.
        threading.Event().wait(POLL_SECONDS)

    def _story(self, what: str) -> str:
        return f"{' '.join(self.command[:6])} (pid {self.pid}) {what}. Its output:\n{self.tail()}"


class Processes:
    """Starts children and ends all of them, the newest first."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._started: list[Process] = []

    def start(self, command: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Process:
        log = self._directory / f"process-{len(self._started)}.log"
        child = Process(command, log=log, env=env, cwd=cwd)
        self._started.append(child)
        return child

    def python(self, module: str, *arguments: str, env: Mapping[str, str] | None = None) -> Process:
        """Start ``python -m module`` with this interpreter."""
        return self.start(
            [sys.executable, "-X", "dev", "-m", module, *arguments], {"PYTHONUNBUFFERED": "1", **(env or {})}
        )

    def end(self) -> None:
        for child in reversed(self._started):
            child.kill9()

    def tail(self) -> str:
        """The last lines of each child, for the report of a failed test."""
        return "\n".join(f"--- {' '.join(child.command)}\n{child.tail()}" for child in self._started)


@contextmanager
def processes(directory: Path) -> Iterator[Processes]:
    group = Processes(directory)
    try:
        yield group
    finally:
        group.end()


def _end_with_parent() -> None:
    """In the child: ask the kernel for SIGKILL when the test runner dies (Linux only).

    The kernel goes by the thread that has started it, so that must live as long as the child is needed.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
