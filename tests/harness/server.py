"""What every server of the harness has in common: a directory, a port, a process, a way to tell that it is ready."""

from __future__ import annotations

import shutil
import socket
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.ports import free_port
from tests.harness.processes import Process

CONNECT_SECONDS = 1.0


class Server(ABC):
    """A server on a private port and directory. Its data survives ``kill9`` and ``stop``, not ``close``."""

    start_seconds = 60.0
    stop_seconds = 30.0

    def __init__(self, port: int | None = None) -> None:
        self.port = free_port() if port is None else port
        # Not under pytest's own directory: those paths are too long for a unix socket, and are kept.
        self.directory = Path(tempfile.mkdtemp(prefix="taskmesh-test-"))
        self._process: Process | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect."""

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """The command line; writes its configuration first."""

    @abstractmethod
    def _answers(self, connection: socket.socket) -> bool:
        """Whether the server on the other end is ready to serve."""

    @property
    def _env(self) -> Mapping[str, str]:
        return {}

    @property
    def process(self) -> Process:
        """The running process.

        :raises RuntimeError: when it has not been started.
        """
        if self._process is None:
            raise RuntimeError(f"{type(self).__name__} has not been started")
        return self._process

    def start(self) -> Self:
        """Start it and wait until it serves."""
        self._process = Process(self._command(), log=self.directory / "server.log", env=self._env, cwd=self.directory)
        self._process.wait_for(self._ready, "answer", self.start_seconds)
        return self

    def kill9(self) -> None:
        """Kill it as the kernel or a power cut would."""
        self.process.kill9()

    def stop(self) -> None:
        """Ask it to end, and wait for that."""
        if self._process is not None and self._process.running:
            self._process.terminate(self.stop_seconds)

    def restart(self) -> None:
        """Start it again on its port with its data, ending it first when it runs."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Kill it and delete its directory."""
        if self._process is not None:
            self._process.kill9()
        shutil.rmtree(self.directory, ignore_errors=True)

    def tail(self) -> str:
        """The last lines of its log."""
        return "" if self._process is None else self._process.tail()

    def _ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), CONNECT_SECONDS) as connection:
                return self._answers(connection)
        except OSError:
            return False

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
