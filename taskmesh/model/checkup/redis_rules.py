"""What a Redis must be like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from taskmesh.model.checkup.findings import Finding, Severity, well
from taskmesh.model.checkup.versions import REDIS_HOLES, VALKEY_HOLES, holes_in, parse_version

OLDEST_REDIS = 7
NO_DURABILITY = "none"

FULL_SHARE = 0.8
"""Above this share of its memory, one burst of runs may fill a server."""

SLOW_SECONDS = 0.02
"""A round trip that takes longer bounds a worker to few batches a second."""

CLOCK_SECONDS = 1.0
"""Leases and timers go by Redis' clock alone; but what is shown, and what an app compares, goes by its own."""

_LOSS = {"no": "about the last 30 seconds", "everysec": "about the last second"}


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """What one server says of itself; None, or USER for its user, where it may not be asked.

    ``is_private``: the embedded server, which only this user's processes can reach. ``denied`` are commands that the
    user may not run.
    """

    server: str
    version: str = ""
    is_valkey: bool = False
    redis_version: str = ""
    aof_on: bool | None = None
    aof_failing: bool = False
    fsync: str | None = None
    eviction: str | None = None
    used_bytes: int = 0
    limit_bytes: int = 0
    machine_bytes: int = 0
    role: str = "master"
    user: str = "USER"
    denied: tuple[str, ...] = ()
    is_private: bool = False

    @property
    def name(self) -> str:
        return f"{'Valkey' if self.is_valkey else 'Redis'} {self.version}".strip()


def judge_redis(facts: RedisFacts, durability: str, namespace: str) -> Iterator[Finding]:
    """Everything there is to say of a server, for the promised ``durability`` of the settings."""
    yield _version(facts)
    yield _holes(facts)
    yield _durability(facts, durability)
    if facts.aof_failing:
        yield Finding(
            "redis.disk",
            Severity.BROKEN,
            f"{facts.server} cannot write its append-only file, so it refuses what is written to it",
            "look into its log; most often its disk is full: df -h",
        )
    yield _eviction(facts)
    yield _memory(facts)
    yield _role(facts)
    yield _permissions(facts, namespace)


def _version(facts: RedisFacts) -> Finding:
    version = parse_version(facts.redis_version)
    if version is None:
        return Finding(
            "redis.version",
            Severity.UNCHECKED,
            f"the version of {facts.server}",
            f"redis-cli ACL SETUSER {facts.user} +info",
        )
    if version[0] < OLDEST_REDIS:
        return Finding(
            "redis.version",
            Severity.REFUSED,
            f"Redis {facts.version} is too old",
            f"taskmesh needs Redis {OLDEST_REDIS} or Valkey",
        )
    return well("redis.version", f"{facts.server}, version {facts.version}")


def _holes(facts: RedisFacts) -> Finding:
    version = parse_version(facts.version)
    if version is None:
        return Finding(
            "redis.holes", Severity.UNCHECKED, "known holes of a version that is unknown", "see redis.version"
        )
    if facts.is_private:
        return well("redis.holes", "only processes of this user can reach the embedded server")
    holes = holes_in(version, VALKEY_HOLES if facts.is_valkey else REDIS_HOLES)
    if not holes:
        return well("redis.holes", f"no hole of {facts.name} is known")
    named = ", ".join(f"{hole.name} ({hole.what})" for hole in holes)
    return Finding(
        "redis.holes",
        Severity.WARNING,
        f"{facts.name} has known holes: {named}",
        "upgrade it, or see whether your distribution has mended them in its package of this version",
    )


def _durability(facts: RedisFacts, durability: str) -> Finding:
    if facts.aof_on is None:
        return Finding(
            "redis.durability",
            Severity.UNCHECKED,
            f"whether {facts.server} keeps what it was told",
            f"redis-cli ACL SETUSER {facts.user} +info",
        )
    if durability == NO_DURABILITY:
        return _no_durability(facts)
    if not facts.aof_on:
        return _not_durable(
            facts, durability, "loses its newest runs when it restarts (appendonly is off)", "appendonly yes"
        )
    if facts.fsync is None:
        return Finding(
            "redis.durability",
            Severity.UNCHECKED,
            f"appendfsync of {facts.server}, which may not be asked; store.durability promises {durability}",
            "redis-cli CONFIG GET appendfsync",
        )
    if facts.fsync == "no" or (durability == "always" and facts.fsync != "always"):
        loss = _LOSS.get(facts.fsync, "a part")
        return _not_durable(
            facts,
            durability,
            f"may lose {loss} when the power fails (appendfsync is {facts.fsync})",
            f"appendfsync {durability}",
        )
    return well("redis.durability", f"appendonly is on and appendfsync is {facts.fsync}, as store.durability promises")


def _not_durable(facts: RedisFacts, durability: str, wrong: str, setting: str) -> Finding:
    mend = f"run: redis-cli CONFIG SET {setting}, and set it in redis.conf; or promise less by store.durability"
    if facts.is_private:
        mend = "end every taskmesh process of this directory, so that its store starts anew"
    return Finding(
        "redis.durability",
        Severity.REFUSED,
        f"{facts.server} {wrong}, but store.durability promises {durability}",
        mend,
    )


def _no_durability(facts: RedisFacts) -> Finding:
    if facts.aof_on:
        return well("redis.durability", "appendonly is on, which is more than store.durability promises")
    return Finding(
        "redis.durability",
        Severity.WARNING,
        f"{facts.server} loses runs when it restarts, as store.durability = none allows",
        "redis-cli CONFIG SET appendonly yes, and set store.durability to everysec",
    )


def _eviction(facts: RedisFacts) -> Finding:
    if facts.eviction is None:
        return Finding(
            "redis.eviction",
            Severity.UNCHECKED,
            f"whether {facts.server} may evict",
            "redis-cli CONFIG GET maxmemory-policy",
        )
    if facts.eviction != "noeviction":
        return Finding(
            "redis.eviction",
            Severity.REFUSED,
            f"{facts.server} may evict runs (maxmemory-policy is {facts.eviction})",
            "run: redis-cli CONFIG SET maxmemory-policy noeviction, and set it in redis.conf",
        )
    return well("redis.eviction", "nothing is evicted")


def _memory(facts: RedisFacts) -> Finding:
    limit = facts.limit_bytes or facts.machine_bytes
    if not limit:
        return Finding("redis.memory", Severity.UNCHECKED, f"how full {facts.server} is", "redis-cli INFO memory")
    of_what = "maxmemory" if facts.limit_bytes else "the machine's memory"
    share = facts.used_bytes / limit
    said = f"{facts.server} uses {_mib(facts.used_bytes)} MiB, {share:.0%} of {of_what}"
    if share < FULL_SHARE:
        return well("redis.memory", said)
    return Finding(
        "redis.memory",
        Severity.BROKEN if share >= 1 else Severity.WARNING,
        f"{said}; when it is full, submits are refused and runs stand still",
        "give it more (redis-cli CONFIG SET maxmemory BYTES), or set store.retention_seconds lower",
    )


def _role(facts: RedisFacts) -> Finding:
    if facts.role == "master":
        return well("redis.role", f"{facts.server} takes writes")
    return Finding(
        "redis.role",
        Severity.BROKEN,
        f"{facts.server} is a replica, which takes no writes",
        "name the primary in store.url: redis-cli INFO replication says where it is",
    )


def _permissions(facts: RedisFacts, namespace: str) -> Finding:
    if not facts.denied:
        return well("redis.permissions", "the user may run every command that taskmesh sends")
    rules = " ".join(f"+{name.lower()}" for name in facts.denied)
    return Finding(
        "redis.permissions",
        Severity.REFUSED,
        f"the user of store.url may not run {', '.join(facts.denied)} on keys of {namespace!r}",
        f"run: redis-cli ACL SETUSER {facts.user} '~{namespace}:*' '&{namespace}:*' {rules}",
    )


def judge_round_trip(seconds: float) -> Finding:
    """How long the store takes to answer nothing."""
    said = f"an answer of the store takes {seconds * 1000:.2f} ms"
    if seconds <= SLOW_SECONDS:
        return well("redis.latency", said)
    return Finding(
        "redis.latency", Severity.WARNING, said, "put workers near it; redis-cli --latency shows its own part"
    )


def judge_clock(ahead_seconds: float) -> Finding:
    """How far the store's clock is ahead of this machine's."""
    said = f"the clocks of Redis and of this machine are {abs(ahead_seconds):.1f} s apart"
    if abs(ahead_seconds) <= CLOCK_SECONDS:
        return well("redis.clock", said)
    return Finding("redis.clock", Severity.WARNING, said, "synchronise both by NTP: timedatectl set-ntp true")


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f}"
