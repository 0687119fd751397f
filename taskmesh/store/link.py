"""Batches of commands to Redis: all sent at once, all replies read, each error in its own place.

redis-py's own pipeline wraps replies in transactions and callbacks; here its connections, parsers and pools are used
as they are, and a batch is one write and one read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias

import redis
from redis import exceptions
from redis.cluster import RedisCluster
from redis.connection import AbstractConnection, ConnectionPool

from taskmesh.errors import StoreRefusedError, StoreUnavailableError
from taskmesh.store.scripts import Script

Argument: TypeAlias = str | bytes | int | float
Reply: TypeAlias = Any


class Command:
    """One command. ``key`` decides which node of a cluster gets it."""

    __slots__ = ("arguments", "key", "script")

    def __init__(self, key: str, *arguments: Argument) -> None:
        self.key = key
        self.arguments: tuple[Argument, ...] = arguments
        self.script: Script | None = None

    @classmethod
    def of_script(cls, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Command:
        command = cls(keys[0], "EVALSHA", script.sha, len(keys), *keys, *arguments)
        command.script = script
        return command

    def with_source(self) -> Command:
        """The same call for a server that has never seen the script."""
        if self.script is None:
            raise TypeError("only a script call has a source")
        return Command(self.key, "EVAL", self.script.source, *self.arguments[2:])


class Link(Protocol):
    """The way to one Redis, or to a cluster of them. Safe in threads and after a fork."""

    def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        """Send all, return the replies in order; a server's refusal of one command stands in its place.

        :raises StoreUnavailableError: the connection broke; what became of the commands is unknown.
        """

    def pubsub(self) -> Any:
        """A subscriber of redis-py that knows `ssubscribe` and `get_sharded_message`."""

    def close(self) -> None: ...


def value_of(reply: Reply) -> Reply:
    """The reply, unless it is the server's refusal.

    :raises StoreUnavailableError: the server cannot serve now (loading, out of memory, read-only, no permission).
    """
    if isinstance(reply, exceptions.RedisError):
        raise StoreUnavailableError(f"Redis refused: {reply}") from None
    return reply


class DirectLink:
    """One Redis server."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._pool = client.connection_pool

    def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        replies = _converse(self._pool, commands)
        return _answer_missing_scripts(commands, replies, lambda again: _converse(self._pool, again))

    def pubsub(self) -> Any:
        return self._client.pubsub()

    def close(self) -> None:
        self._client.close()


class ClusterLink:
    """A Redis Cluster: each command goes to the node that has its slot."""

    def __init__(self, client: RedisCluster) -> None:
        self._client = client

    def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        replies = self._by_node(commands)
        moved = [at for at, reply in enumerate(replies) if isinstance(reply, _SLOT_ELSEWHERE)]
        if moved:
            self._refresh()
            for at, reply in zip(moved, self._by_node([commands[at] for at in moved]), strict=True):
                replies[at] = reply
        return _answer_missing_scripts(commands, replies, self._by_node)

    def _by_node(self, commands: Sequence[Command]) -> list[Reply]:
        places: dict[str, tuple[ConnectionPool, list[int]]] = {}
        for at, command in enumerate(commands):
            name, pool = self._pool_of(command.key)
            places.setdefault(name, (pool, []))[1].append(at)
        replies: list[Reply] = [None] * len(commands)
        for pool, ats in places.values():
            for at, reply in zip(ats, _converse(pool, [commands[at] for at in ats]), strict=True):
                replies[at] = reply
        return replies

    def _pool_of(self, key: str) -> tuple[str, ConnectionPool]:
        with translated():
            node = self._client.get_node_from_key(key)
            if node is None:
                self._client.nodes_manager.initialize()
                raise StoreUnavailableError(f"no node of the Redis Cluster serves the slot of {key!r}")
            return node.name, self._client.get_redis_connection(node).connection_pool

    def _refresh(self) -> None:
        with translated():
            self._client.nodes_manager.initialize()

    def pubsub(self) -> Any:
        return self._client.pubsub()

    def close(self) -> None:
        self._client.close()


_SLOT_ELSEWHERE = (exceptions.MovedError, exceptions.AskError, exceptions.TryAgainError, exceptions.ClusterDownError)


def _answer_missing_scripts(
    commands: Sequence[Command], replies: list[Reply], exchange: Callable[[Sequence[Command]], list[Reply]]
) -> list[Reply]:
    missing = [at for at, reply in enumerate(replies) if isinstance(reply, exceptions.NoScriptError)]
    if missing:
        again = exchange([commands[at].with_source() for at in missing])
        for at, reply in zip(missing, again, strict=True):
            replies[at] = reply
    return replies


def _converse(pool: ConnectionPool, commands: Sequence[Command]) -> list[Reply]:
    with translated():
        connection = pool.get_connection()
        try:
            packed: list[bytes] = []
            for command in commands:
                packed.extend(connection.pack_command(*command.arguments))
            connection.send_packed_command([b"".join(packed)])
            return [_read(connection) for _ in commands]
        except BaseException:
            connection.disconnect()
            raise
        finally:
            pool.release(connection)


def _read(connection: AbstractConnection) -> Reply:
    try:
        return connection.read_response()
    except exceptions.ResponseError as refusal:
        return refusal


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Make the driver's errors ours."""
    try:
        yield
    except (exceptions.AuthenticationError, exceptions.NoPermissionError) as error:
        raise StoreRefusedError(f"Redis refused the login: {error}; check the user and password of the URL") from None
    except (exceptions.RedisError, OSError) as error:
        raise StoreUnavailableError(f"Redis does not answer: {error}") from None
