"""The way to a Redis Cluster: a batch is cut by node, sent to all of them at once, and put together again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis import exceptions
from redis.cluster import RedisCluster
from redis.connection import ConnectionPool

from taskmesh.errors import StoreUnavailableError
from taskmesh.store.link import Command, Conversation, Exchange, Reply, answer_missing_scripts, translated

_SLOT_ELSEWHERE = (exceptions.MovedError, exceptions.ClusterDownError)


class ClusterLink:
    """A Redis Cluster: each command goes to the node that has its slot."""

    def __init__(self, client: RedisCluster) -> None:
        self._client = client
        self.doubtful = False
        """A node did not answer: another may have taken over its slots, and no reply of its own would say so."""

    def begin(self, commands: Sequence[Command]) -> Conversation:
        return _Scattered(self, commands)

    def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        return self.begin(commands).collect()

    def by_node(self, commands: Sequence[Command]) -> list[tuple[Exchange, list[int]]]:
        """Send each command to its node; with the places of the commands."""
        if self.doubtful:
            self.refresh()
        places: dict[str, tuple[ConnectionPool, list[int]]] = {}
        for at, command in enumerate(commands):
            name, pool = self._pool_of(command.key)
            places.setdefault(name, (pool, []))[1].append(at)
        exchanges: list[tuple[Exchange, list[int]]] = []
        try:
            for pool, ats in places.values():
                exchanges.append((Exchange(pool, [commands[at] for at in ats]), ats))
        except StoreUnavailableError:
            self.doubtful = True
            _discard(exchanges)
            raise
        return exchanges

    def ask(self, command: Command, elsewhere: exceptions.AskError) -> Reply:
        """Send a command to the node that is taking its slot over, and has its keys already."""
        with translated():
            node = self._client.get_node(host=elsewhere.host, port=elsewhere.port)
            if node is None:
                self.doubtful = True
                raise StoreUnavailableError(f"the Redis Cluster moves {command.key!r} to a node that it did not name")
            pool = self._client.get_redis_connection(node).connection_pool
        return Exchange(pool, [Command(command.key, "ASKING"), command]).collect()[1]

    def refresh(self) -> None:
        """Ask the cluster again who serves which slot."""
        with translated():
            self._client.nodes_manager.initialize()
        self.doubtful = False

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
        replies = self._gathered(self._exchanges, self._commands)
        moved = [at for at, reply in enumerate(replies) if isinstance(reply, _SLOT_ELSEWHERE)]
        if moved:
            self._link.refresh()
            for at, reply in zip(moved, self._again([self._commands[at] for at in moved]), strict=True):
                replies[at] = reply
        self._follow(self._commands, replies)
        return answer_missing_scripts(self._commands, replies, self._again)

    def discard(self) -> None:
        _discard(self._exchanges)

    def _again(self, commands: Sequence[Command]) -> list[Reply]:
        replies = self._gathered(self._link.by_node(commands), commands)
        self._follow(commands, replies)
        return replies

    def _follow(self, commands: Sequence[Command], replies: list[Reply]) -> None:
        """Go after keys that have left for another node while the rest of their slot has not.

        Where only some keys of a script have, the answer is a refusal (TRYAGAIN), and the caller tries again later.
        """
        for at, reply in enumerate(replies):
            if isinstance(reply, exceptions.AskError):
                replies[at] = self._link.ask(commands[at], reply)

    def _gathered(self, exchanges: Sequence[tuple[Exchange, list[int]]], commands: Sequence[Command]) -> list[Reply]:
        try:
            return _gathered(exchanges, len(commands))
        except StoreUnavailableError:
            self._link.doubtful = True
            raise


def _gathered(exchanges: Sequence[tuple[Exchange, list[int]]], count: int) -> list[Reply]:
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


def _discard(exchanges: Sequence[tuple[Exchange, list[int]]]) -> None:
    for exchange, _ in exchanges:
        exchange.discard()
