"""Batches of commands to Redis: all sent at once, all replies read, each error in its own place.

redis-py's own pipeline wraps replies in transactions and callbacks; here its connections, parsers and pools are used
as they are, and a batch is one write and one read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias, cast

import hiredis
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


class Conversation(Protocol):
    """Commands that were sent and whose replies have not been read."""

    def collect(self) -> list[Reply]:
        """The replies in order; a server's refusal of one command stands in its place. To be called once.

        :raises StoreUnavailableError: the connection broke; what became of the commands is unknown.
        """

    def discard(self) -> None:
        """Do without the replies; also after a ``collect`` that raised."""


class Link(Protocol):
    """The way to one Redis, or to a cluster of them. Safe in threads and after a fork."""

    def begin(self, commands: Sequence[Command]) -> Conversation:
        """Send all, and let the server work while the caller does something else.

        :raises StoreUnavailableError: the connection broke; what became of the commands is unknown.
        """

    def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        """Send all and wait for the replies; errors as of ``collect``."""

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

    def begin(self, commands: Sequence[Command]) -> Conversation:
        return _Direct(self._pool, commands)

    def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        return self.begin(commands).collect()

    def pubsub(self) -> Any:
        return self._client.pubsub()

    def close(self) -> None:
        self._client.close()


class _Direct:
    """A conversation with one server."""

    def __init__(self, pool: ConnectionPool, commands: Sequence[Command]) -> None:
        self._pool = pool
        self._commands = commands
        self._exchange = _Exchange(pool, commands)

    def collect(self) -> list[Reply]:
        replies = self._exchange.collect()
        return _answer_missing_scripts(self._commands, replies, lambda again: _Exchange(self._pool, again).collect())

    def discard(self) -> None:
        self._exchange.discard()


class ClusterLink:
    """A Redis Cluster: each command goes to the node that has its slot."""

    def __init__(self, client: RedisCluster) -> None:
        self._client = client

    def begin(self, commands: Sequence[Command]) -> Conversation:
        return _Scattered(self, commands)

    def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        return self.begin(commands).collect()

    def by_node(self, commands: Sequence[Command]) -> list[tuple[_Exchange, list[int]]]:
        """Send each command to its node; with the places of the commands."""
        places: dict[str, tuple[ConnectionPool, list[int]]] = {}
        for at, command in enumerate(commands):
            name, pool = self._pool_of(command.key)
            places.setdefault(name, (pool, []))[1].append(at)
        exchanges: list[tuple[_Exchange, list[int]]] = []
        try:
            for pool, ats in places.values():
                exchanges.append((_Exchange(pool, [commands[at] for at in ats]), ats))
        except StoreUnavailableError:
            _discard(exchanges)
            raise
        return exchanges

    def refresh(self) -> None:
        """Ask the cluster again who serves which slot."""
        with translated():
            self._client.nodes_manager.initialize()

    def pubsub(self) -> Any:
        return self._client.pubsub()

    def close(self) -> None:
        self._client.close()

    def _pool_of(self, key: str) -> tuple[str, ConnectionPool]:
        with translated():
            node = self._client.get_node_from_key(key)
            if node is None:
                self._client.nodes_manager.initialize()
                raise StoreUnavailableError(f"no node of the Redis Cluster serves the slot of {key!r}")
            return node.name, self._client.get_redis_connection(node).connection_pool


class _Scattered:
    """A conversation with several nodes of a cluster."""

    def __init__(self, link: ClusterLink, commands: Sequence[Command]) -> None:
        self._link = link
        self._commands = commands
        self._exchanges = link.by_node(commands)

    def collect(self) -> list[Reply]:
        replies = _gathered(self._exchanges, len(self._commands))
        moved = [at for at, reply in enumerate(replies) if isinstance(reply, _SLOT_ELSEWHERE)]
        if moved:
            self._link.refresh()
            for at, reply in zip(moved, self._again([self._commands[at] for at in moved]), strict=True):
                replies[at] = reply
        return _answer_missing_scripts(self._commands, replies, self._again)

    def discard(self) -> None:
        _discard(self._exchanges)

    def _again(self, commands: Sequence[Command]) -> list[Reply]:
        return _gathered(self._link.by_node(commands), len(commands))


def _gathered(exchanges: Sequence[tuple[_Exchange, list[int]]], count: int) -> list[Reply]:
    replies: list[Reply] = [None] * count
    for done, (exchange, ats) in enumerate(exchanges, 1):
        try:
            collected = exchange.collect()
        except StoreUnavailableError:
            _discard(exchanges[done:])
            raise
        for at, reply in zip(ats, collected, strict=True):
            replies[at] = reply
    return replies


def _discard(exchanges: Sequence[tuple[_Exchange, list[int]]]) -> None:
    for exchange, _ in exchanges:
        exchange.discard()


# Its stub has it take a tuple of one.
_pack = cast("Callable[[tuple[Argument, ...]], bytes]", hiredis.pack_command)

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


class _Exchange:
    """One write and one read on one connection, which is nobody else's in between."""

    __slots__ = ("_connection", "_count", "_pool", "_released")

    def __init__(self, pool: ConnectionPool, commands: Sequence[Command]) -> None:
        self._pool = pool
        self._count = len(commands)
        self._released = False
        with translated():
            self._connection = pool.get_connection()
            try:
                packed = b"".join([_pack(command.arguments) for command in commands])
                self._connection.send_packed_command([packed])
            except BaseException:
                self.discard()
                raise

    def collect(self) -> list[Reply]:
        with translated():
            try:
                replies = [_read(self._connection) for _ in range(self._count)]
            except BaseException:
                self.discard()
                raise
            self._released = True
            self._pool.release(self._connection)
            return replies

    def discard(self) -> None:
        """Give the connection up: replies may still be on their way, and nobody must take them for his own."""
        if not self._released:
            self._released = True
            self._connection.disconnect()
            self._pool.release(self._connection)


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
