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
from redis.connection import ConnectionPool

from taskmesh.errors import StoreRefusedError, StoreUnavailableError
from taskmesh.store.scripts import Script
from taskmesh.store.tls import handshake_is_late, tls_fault

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


def found_damage(reply: Reply) -> bool:
    """Whether a call stopped at what it found under its keys: the server is well, and answers the calls for others."""
    if type(reply) is not exceptions.ResponseError:
        return False
    text = str(reply)
    return text.startswith("WRONGTYPE") or (_IN_A_SCRIPT in text and not text.startswith(_OF_THE_SERVER))


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
        self._exchange = Exchange(pool, commands)

    def collect(self) -> list[Reply]:
        replies = self._exchange.collect()
        return answer_missing_scripts(self._commands, replies, lambda again: Exchange(self._pool, again).collect())

    def discard(self) -> None:
        self._exchange.discard()


# Its stub has it take a tuple of one.
_pack = cast("Callable[[tuple[Argument, ...]], bytes]", hiredis.pack_command)

_SAID_BY_REPLICAS = (exceptions.ReadOnlyError, exceptions.MasterDownError)
_IN_A_SCRIPT = "on @user_script:"
_OF_THE_SERVER = ("MISCONF", "NOREPLICAS", "BUSY")


def answer_missing_scripts(
    commands: Sequence[Command], replies: list[Reply], exchange: Callable[[Sequence[Command]], list[Reply]]
) -> list[Reply]:
    missing = [at for at, reply in enumerate(replies) if isinstance(reply, exceptions.NoScriptError)]
    if missing:
        again = exchange([commands[at].with_source() for at in missing])
        for at, reply in zip(missing, again, strict=True):
            replies[at] = reply
    return replies


class Exchange:
    """One write and one read on one connection, which is nobody else's in between."""

    __slots__ = ("_connection", "_count", "_demoted", "_pool", "_released")

    def __init__(self, pool: ConnectionPool, commands: Sequence[Command]) -> None:
        self._pool = pool
        self._count = len(commands)
        self._released = False
        self._demoted = False
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
                replies = [self._read() for _ in range(self._count)]
            except BaseException:
                self.discard()
                raise
            if self._demoted:
                self._leave()
            else:
                self._released = True
                self._pool.release(self._connection)
            return replies

    def discard(self) -> None:
        """Give the connection up: replies may still be on their way, and nobody must take them for his own."""
        if not self._released:
            self._released = True
            self._connection.disconnect()
            self._pool.release(self._connection)

    def _read(self) -> Reply:
        try:
            return self._connection.read_response()
        except exceptions.ResponseError as refusal:
            self._demoted = self._demoted or isinstance(refusal, _SAID_BY_REPLICAS)
            return refusal

    def _leave(self) -> None:
        """Part from a server that was the primary: behind the same address, or another, there is a new one."""
        self.discard()
        self._pool.disconnect(inuse_connections=False)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Make the driver's errors ours."""
    try:
        yield
    except (exceptions.AuthenticationError, exceptions.NoPermissionError) as error:
        raise StoreRefusedError(
            f"Redis refused the login ({_said(error)}); check the user and password of store.url"
        ) from None
    except (exceptions.RedisError, OSError) as error:
        if fault := tls_fault(error):
            raise StoreRefusedError(fault) from None
        raise StoreUnavailableError(
            f"Redis does not answer ({_said(error)}); check that it runs, and store.url"
        ) from None


def _said(error: Exception) -> str:
    if handshake_is_late(error):
        return "it does not begin TLS in time, as on a port that is not for TLS"
    return str(error).rstrip(". ")
