"""A Redis, a replica of it that can be held back, and one address that is led to either."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import redis

from tests.harness.redis import RedisServer
from tests.harness.relay import Relay


@dataclass(frozen=True, slots=True)
class LaggingPair:
    """A primary, a replica, the way between them, and the address that clients use."""

    primary: RedisServer
    replica: RedisServer
    replication: Relay
    address: Relay

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.address.port}/0"

    def fail_over(self) -> None:
        """Kill the primary and promote the replica with what it has; what was on the way to it is lost."""
        self.primary.kill9()
        with redis.Redis(port=self.replica.port) as client:
            client.replicaof("NO", "ONE")
        self.replication.cut()
        self.address.target = self.replica.port
        self.address.cut()

    def await_replica(self) -> None:
        with redis.Redis(port=self.primary.port) as client:
            # WAIT is for the writes of its own connection: this one comes after all that is to be awaited.
            client.set("awaited", 1)
            self.primary.process.wait_for(lambda: client.wait(1, 100) == 1, "replica that has all")


@contextmanager
def lagging_pair() -> Iterator[LaggingPair]:
    with ExitStack() as stack:
        primary = stack.enter_context(RedisServer())
        replication = stack.enter_context(Relay(primary.port))
        follows = {"replicaof": f"127.0.0.1 {replication.port}", "repl-diskless-sync-delay": "0"}
        replica = stack.enter_context(RedisServer(overrides=follows))
        pair = LaggingPair(primary, replica, replication, stack.enter_context(Relay(primary.port)))
        pair.await_replica()
        yield pair
