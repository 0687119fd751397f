"""What is stored around unfinished nodes: reads that tell what they wait for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from taskmesh.store.calls import NodeKey
from taskmesh.store.keys import Keys
from taskmesh.store.link import Command, Link, Reply, value_of


class Place(NamedTuple):
    """Since when a node is due in the outbox, and for when its timer is set; None where it is not there."""

    due_at: float | None
    timer_at: float | None


class PoolRecord(NamedTuple):
    """How many I/O processes consume a pool, and when the newest probe left that came through its slowest shard."""

    servers: int
    probed_at: float | None


class Waits:
    """Reads of what brings nodes on."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    def time(self) -> float:
        """The store's clock, in epoch seconds."""
        [(seconds, microseconds)] = self._all([Command(self._keys.keepers, "TIME")])
        return int(seconds) + int(microseconds) / 1_000_000

    def places(self, nodes: Sequence[tuple[NodeKey, str]]) -> list[Place]:
        """Where nodes stand; each comes with its pool."""
        commands = []
        for key, pool in nodes:
            partition = self._keys.partition_of(key.run_id)
            commands += [
                Command(each, "ZSCORE", each, key.member) for each in (partition.outbox(pool), partition.timers)
            ]
        scores = [None if reply is None else float(reply) for reply in self._all(commands)]
        return [Place(*pair) for pair in zip(scores[::2], scores[1::2], strict=True)]

    def leases(self, run_id: str, holders: Sequence[str]) -> dict[str, float | None]:
        """Until when the lease of each holder is in force."""
        key = self._keys.partition_of(run_id).holders
        replies = self._all([Command(key, "ZSCORE", key, holder) for holder in holders])
        return {at: None if reply is None else float(reply) for at, reply in zip(holders, replies, strict=True)}

    def kept_until(self, run_id: str) -> float:
        """Until when somebody keeps house in the partition of a run; 0 where nobody ever has."""
        key = self._keys.partition_of(run_id).keeper
        [until] = self._all([Command(key, "HGET", key, "until")])
        return float(until or 0)

    def pools(self, pools: Sequence[str], now: float) -> dict[str, PoolRecord]:
        """Who serves pools, and how old their queues are."""
        serving = [self._keys.serving(pool) for pool in pools]
        probes = [self._keys.probes(pool) for pool in pools]
        alive = self._all([Command(key, "ZRANGEBYSCORE", key, f"({now!r}", "+inf") for key in serving])
        found = self._all([Command(key, "HGETALL", key) for key in probes])
        return {
            pool: PoolRecord(len(servers), _oldest(flat))
            for pool, servers, flat in zip(pools, alive, found, strict=True)
        }

    def _all(self, commands: Sequence[Command]) -> list[Reply]:
        return [value_of(reply) for reply in self._link.exchange(commands)] if commands else []


def _oldest(flat: Reply) -> float | None:
    sent = list(flat.values()) if isinstance(flat, dict) else flat[1::2]
    return min(map(float, sent), default=None)
