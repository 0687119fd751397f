"""What the servers of the store say of themselves, and whether a worker may trust them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from redis.exceptions import RedisError

from taskmesh.errors import StoreRefusedError
from taskmesh.model.checkup.findings import refusal
from taskmesh.model.checkup.redis_rules import RedisFacts, judge_redis
from taskmesh.store.keys import Keys, Partition
from taskmesh.store.link import Command, Link, Reply
from taskmesh.store.permissions import denied_commands

UNLIMITED = 0


def inspect_servers(link: Link, keys: Keys, is_private: bool = False) -> list[RedisFacts]:
    """The facts of every server that holds state of the namespace.

    :raises StoreUnavailableError: a server does not answer.
    """
    return [_facts(link, partition, info, is_private) for partition, info in _servers(link, keys)]


def refuse_unsafe(link: Link, keys: Keys, durability: str, is_private: bool = False) -> None:
    """Check what the promises rest on.

    :raises StoreRefusedError: one of the servers breaks a promise; one sentence a line.
    :raises StoreUnavailableError: a server does not answer.
    """
    servers = inspect_servers(link, keys, is_private)
    found = [finding for facts in servers for finding in judge_redis(facts, durability, keys.namespace)]
    sentences = refusal(found)
    if sentences:
        raise StoreRefusedError(sentences)


def _servers(link: Link, keys: Keys) -> Iterator[tuple[Partition, Mapping[str, str]]]:
    """One partition on each server, and what the server says of itself."""
    first = keys.partitions[0]
    [reply] = link.exchange([Command(first.holders, "INFO")])
    if _parsed(reply).get("cluster_enabled") != "1":
        yield first, _parsed(reply)
        return
    replies = link.exchange([Command(each.holders, "INFO") for each in keys.partitions])
    infos = zip(keys.partitions, map(_parsed, replies), strict=True)
    yield from {info.get("run_id"): (partition, info) for partition, info in infos}.values()


def _facts(link: Link, partition: Partition, info: Mapping[str, str], is_private: bool) -> RedisFacts:
    key = partition.holders
    fsync, user = link.exchange([Command(key, "CONFIG", "GET", "appendfsync"), Command(key, "ACL", "WHOAMI")])
    version = info.get("redis_version", "")
    return RedisFacts(
        server=_name(info),
        version=info.get("valkey_version") or version,
        is_valkey="valkey_version" in info,
        redis_version=version,
        aof_on=_flag(info, "aof_enabled"),
        aof_failing=info.get("aof_last_write_status", "ok") != "ok",
        fsync=_setting(fsync),
        eviction=info.get("maxmemory_policy"),
        used_bytes=int(info.get("used_memory", UNLIMITED)),
        limit_bytes=int(info.get("maxmemory", UNLIMITED)),
        machine_bytes=int(info.get("total_system_memory", UNLIMITED)),
        role=info.get("role", "master"),
        user=user.decode() if isinstance(user, bytes) else "USER",
        denied=denied_commands(link, partition),
        is_private=is_private,
    )


def _name(info: Mapping[str, str]) -> str:
    kind = "Valkey" if "valkey_version" in info else "Redis"
    port = info.get("tcp_port", "0")
    return f"{kind} at port {port}" if port != "0" else kind


def _flag(info: Mapping[str, str], name: str) -> bool | None:
    return info[name] == "1" if name in info else None


def _setting(reply: Reply) -> str | None:
    """The value of CONFIG GET; services and permissions often refuse it."""
    if isinstance(reply, Mapping):
        reply = [part for pair in reply.items() for part in pair]
    return reply[1].decode() if isinstance(reply, list) and len(reply) > 1 else None


def _parsed(info: Any) -> dict[str, str]:
    """An empty one where it may not be asked."""
    if isinstance(info, RedisError):
        return {}
    lines = (line.partition(":") for line in info.decode().splitlines())
    return {name: value for name, _, value in lines if value}
