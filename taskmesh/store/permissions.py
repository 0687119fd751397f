"""Which commands the user of the store may not run, tried on keys that only live for a moment.

A script's commands are held to the same permissions as the user's own, so trying each by itself tells of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from redis.exceptions import NoPermissionError

from taskmesh.store.cluster_link import ClusterLink
from taskmesh.store.keys import Partition
from taskmesh.store.link import Argument, Command, Link
from taskmesh.store.scripts import Script

SCRATCH_SECONDS = 1

_ON_NOTHING: Mapping[str, Sequence[Argument]] = MappingProxyType({"TIME": (), "INFO": ()})

_ON_A_KEY: Mapping[str, tuple[str, Sequence[Argument]]] = MappingProxyType(
    {
        "HSET": ("hash", ("f", 1)),
        "HSETNX": ("hash", ("g", 1)),
        "HINCRBY": ("hash", ("f", 1)),
        "HGET": ("hash", ("f",)),
        "HMGET": ("hash", ("f",)),
        "HGETALL": ("hash", ()),
        "HEXISTS": ("hash", ("f",)),
        "HLEN": ("hash", ()),
        "HSCAN": ("hash", (0,)),
        "HDEL": ("hash", ("h",)),
        "ZADD": ("zset", (1, "m")),
        "ZSCORE": ("zset", ("m",)),
        "ZSCAN": ("zset", (0,)),
        "ZCARD": ("zset", ()),
        "ZRANGEBYSCORE": ("zset", (0, 1)),
        "ZRANGE": ("zset", (0, 1)),
        "ZREVRANGE": ("zset", (0, 1)),
        "ZRANGEBYLEX": ("zset", ("-", "+")),
        "ZREM": ("zset", ("n",)),
        "ZREMRANGEBYSCORE": ("zset", (5, 6)),
        "ZREMRANGEBYRANK": ("zset", (5, 6)),
        "SADD": ("set", ("m",)),
        "SMEMBERS": ("set", ()),
        "SCARD": ("set", ()),
        "SRANDMEMBER": ("set", (1,)),
        "SREM": ("set", ("n",)),
        "SPOP": ("set", (1,)),
        "LPUSH": ("list", ("m",)),
        "LLEN": ("list", ()),
        "LINDEX": ("list", (0,)),
        "LSET": ("list", (0, "m")),
        "LRANGE": ("list", (0, 1)),
        "LTRIM": ("list", (0, 1)),
        "SET": ("string", (1,)),
        "GET": ("string", ()),
        "INCR": ("string", ()),
        "INCRBY": ("string", (1,)),
        "XADD": ("stream", ("*", "f", 1)),
        "XREVRANGE": ("stream", ("+", "-", "COUNT", 1)),
        "EXISTS": ("hash", ()),
        "PERSIST": ("hash", ()),
        "DEL": ("string", ()),
        "UNLINK": ("string", ()),
    }
)

_OF_A_CLUSTER: Mapping[str, Sequence[Argument]] = MappingProxyType({"ASKING": ()})

_KINDS = ("hash", "zset", "set", "list", "string", "stream")
_SCRIPT = Script("doctor", "#!lua\nreturn 1")


def tried_commands() -> set[str]:
    """Every command that is tried."""
    return {*_ON_NOTHING, *_OF_A_CLUSTER, *_ON_A_KEY, "SPUBLISH", "EVAL", "EVALSHA", "PEXPIRE"}


def denied_commands(link: Link, partition: Partition) -> tuple[str, ...]:
    """The commands that the server which holds ``partition`` does not let this user run.

    :raises StoreUnavailableError: the connection broke.
    """
    commands = _commands(partition, isinstance(link, ClusterLink))
    replies = link.exchange(commands)
    denied = {str(c.arguments[0]) for c, reply in zip(commands, replies, strict=True) if _is_denied(reply)}
    return tuple(sorted(denied))


def _commands(partition: Partition, is_cluster: bool) -> list[Command]:
    keys = {kind: partition.scratch(kind) for kind in _KINDS}
    key = keys["hash"]
    on_nothing = {**_ON_NOTHING, **(_OF_A_CLUSTER if is_cluster else {})}
    return [
        *(Command(key, name, *arguments) for name, arguments in on_nothing.items()),
        *(Command(key, name, keys[kind], *arguments) for name, (kind, arguments) in _ON_A_KEY.items()),
        Command(key, "SPUBLISH", key, ""),
        Command(key, "EVAL", _SCRIPT.source, 1, key),
        Command.of_script(_SCRIPT, [key], ()),
        # They must go even where this process dies now, and there may be no permission to delete.
        *(Command(key, "PEXPIRE", each, SCRATCH_SECONDS * 1000) for each in keys.values()),
    ]


def _is_denied(reply: object) -> bool:
    return isinstance(reply, NoPermissionError)
