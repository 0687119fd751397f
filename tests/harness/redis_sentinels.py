"""A Redis primary with a replica, and three sentinels that promote the replica when the primary is gone."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import redis

from tests.harness.redis import RedisServer

SERVICE = "taskmesh-tests"
SENTINELS = 3
QUORUM = 2
DOWN_AFTER_MS = 1_000
FAILOVER_MS = 5_000
PATIENCE_SECONDS = 60.0


class SentinelServer(RedisServer):
    """One sentinel."""

    def __init__(self, primary: RedisServer) -> None:
        super().__init__()
        self._primary = primary

    def state(self) -> dict[str, Any]:
        """What it knows of the service."""
        with redis.Redis(port=self.port, decode_responses=True) as client:
            flat = client.execute_command("SENTINEL", "MASTER", SERVICE)
        return dict(flat) if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))

    @property
    def is_whole(self) -> bool:
        """Whether it sees a well primary, one replica and all other sentinels."""
        state = {name: str(value) for name, value in self.state().items()}
        others = (state.get("num-slaves"), state.get("num-other-sentinels"))
        return others == ("1", str(SENTINELS - 1)) and "down" not in state["flags"]

    def _command(self) -> Sequence[str]:
        config = self.directory / "sentinel.conf"
        # A sentinel writes into its file what it has learnt.
        if not config.exists():
            config.write_text(
                f"port {self.port}\nbind 127.0.0.1\ndir {self.directory}\ndaemonize no\n"
                f"sentinel monitor {SERVICE} 127.0.0.1 {self._primary.port} {QUORUM}\n"
                f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n"
                f"sentinel failover-timeout {SERVICE} {FAILOVER_MS}\n"
            )
        assert self._binary is not None
        return [self._binary, str(config), "--sentinel"]


class RedisSentinels:
    """Two servers, of which one is the primary, and their sentinels."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self.servers: list[RedisServer] = []
        self.sentinels: list[SentinelServer] = []

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}/0"

    def start(self) -> Self:
        """Start all, and wait until the sentinels see all."""
        first = self._open.enter_context(RedisServer())
        follows = {"replicaof": f"127.0.0.1 {first.port}", "repl-diskless-sync-delay": "0"}
        self.servers = [first, self._open.enter_context(RedisServer(overrides=follows))]
        self.sentinels = [self._open.enter_context(SentinelServer(first)) for _ in range(SENTINELS)]
        for sentinel in self.sentinels:
            sentinel.process.wait_for(lambda: all(each.is_whole for each in self.sentinels), "view of the whole")
        return self

    @property
    def primary(self) -> RedisServer:
        """The server that the sentinels send clients to."""
        port = int(self.sentinels[0].state()["port"])
        return next(server for server in self.servers if server.port == port)

    def await_replicated(self) -> None:
        """Wait until the replica has all that the primary has answered up to now."""
        self.primary.await_replicated()

    def await_promotion(self, old: RedisServer) -> RedisServer:
        """Wait until another server than ``old`` is the primary, and says so itself."""
        new = next(server for server in self.servers if server is not old)
        new.process.wait_for(lambda: self.primary is new and role_of(new) == "master", "promotion", PATIENCE_SECONDS)
        return new

    def freeze(self, server: RedisServer) -> None:
        """Stop a server as a machine that hangs."""
        server.process.signal(signal.SIGSTOP)

    def thaw(self, server: RedisServer) -> None:
        """Let it go on, with all that it believed before."""
        server.process.signal(signal.SIGCONT)

    def close(self) -> None:
        self._open.close()

    def tail(self) -> str:
        """The last lines of every log."""
        return "\n".join(f"--- port {each.port}\n{each.tail()}" for each in [*self.servers, *self.sentinels])

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


def role_of(server: RedisServer) -> str:
    """``master`` or ``slave``, by the server's own word."""
    with redis.Redis(port=server.port) as client:
        return str(client.role()[0].decode())
