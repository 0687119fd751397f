"""The processes of one system: its workers, which can be frozen, and its driver, which answers questions."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.harness.processes import Process

PROJECT = Path(__file__).resolve().parents[2]
ANSWER_SECONDS = 300.0
STOP_SECONDS = 20.0
LOOK_SECONDS = 1.0
SHOWN_LINES = 20


class Worker:
    """A worker with all its child processes."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self._process = Process(command, log=log, env=env, cwd=PROJECT)

    def tree(self) -> list[psutil.Process]:
        """The worker's processes, parents first; nothing when it has ended."""
        try:
            root = psutil.Process(self._process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let it do nothing, so that a queue can fill before the clock starts; it needs no start-up after."""
        stopped = self.tree()
        for process in stopped:
            process.suspend()
        try:
            yield
        finally:
            for process in stopped:
                process.resume()

    def stop(self) -> None:
        """Ask it to end; what does not end in time is killed."""
        tree = self.tree()
        if tree:
            tree[0].terminate()
        _, alive = psutil.wait_procs(tree, STOP_SECONDS)
        for process in alive:
            process.kill()
        self._process.kill9()

    def kill(self) -> None:
        """End all of it at once, as a power failure would."""
        for process in self.tree():
            process.kill()

    @property
    def running(self) -> bool:
        return self._process.running

    def tail(self) -> str:
        """The last lines of its log."""
        return self._process.tail(SHOWN_LINES)


class DriverProcess:
    """A driver, and the way to ask it. It gives up when one of the workers has ended."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], log: Path, workers: Sequence[Worker]) -> None:
        self._log = log
        self._workers = workers
        with log.open("ab") as errors:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **env},
                cwd=PROJECT,
                text=True,
                bufsize=1,
            )
        try:
            self._answer("ready")
        except BaseException:
            self.stop()
            raise

    def ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Send one request and give the answer.

        :raises RuntimeError: when the driver or a worker ends instead, or no answer comes; with their logs.
        """
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps({"op": operation, **arguments}) + "\n")
        return self._answer(f"{operation} {arguments}")

    def stop(self) -> None:
        """End it: a driver ends when its stdin does."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child.stdout.close()

    def _answer(self, question: str) -> dict[str, Any]:
        assert self._child.stdout is not None
        deadline = time.monotonic() + ANSWER_SECONDS
        while not select.select([self._child.stdout], [], [], LOOK_SECONDS)[0]:
            if time.monotonic() > deadline or not all(worker.running for worker in self._workers):
                raise RuntimeError(self._story(question))
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError(self._story(question))
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _story(self, question: str) -> str:
        driver = "\n".join(self._log.read_text(errors="replace").splitlines()[-SHOWN_LINES:])
        workers = "\n".join(worker.tail() for worker in self._workers)
        return f"no answer to {question!r}; the driver said:\n{driver}\nthe workers said:\n{workers}"
