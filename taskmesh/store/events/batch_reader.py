"""How batches of events stand: reads that change nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from taskmesh.errors import WireError
from taskmesh.store.events.batches import BatchKey
from taskmesh.store.keys import Keys
from taskmesh.store.link import Command, Link, Reply, found_damage, value_of
from taskmesh.store.reader import scored
from taskmesh.wire import unpack


class Standing(NamedTuple):
    """Where a batch stands. Times in epoch seconds; ``size`` counts its events, ``weight`` the bytes of parameters."""

    batch: BatchKey
    flow: str
    key: str
    flow_hash: str
    opened_at: float
    closes_at: float
    size: int
    weight: int
    is_open: bool


@dataclass(frozen=True, slots=True)
class ClosedBatch:
    """A batch whose run is to be admitted, with its events, packed, in the order in which they came."""

    standing: Standing
    events: Sequence[bytes]


class EventBatchReader:
    """Reads the batches of a store."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    def partitions(self) -> frozenset[int]:
        """The numbers of the partitions that have gathered events."""
        key = self._keys.gathering
        return frozenset(int(number) for number in self._all([Command(key, "SMEMBERS", key)])[0])

    def next_to_close(self, limit: int, partitions: Iterable[int]) -> list[tuple[str, float]]:
        """Gatherings with an open batch, and when that closes, in order: at most ``limit`` of each partition."""
        keys = [self._keys.partitions[number].gatherings for number in partitions]
        replies = self._all([Command(key, "ZRANGE", key, 0, limit - 1, "WITHSCORES") for key in keys])
        return sorted((row for reply in replies for row in scored(reply)), key=lambda row: row[1])

    def closed(self, limit: int, partitions: Iterable[int]) -> list[tuple[BatchKey, float]]:
        """Closed batches, and since when, or when to look at them again, in order: ``limit`` of each partition."""
        keys = [self._keys.partitions[number].closed_batches for number in partitions]
        replies = self._all([Command(key, "ZRANGE", key, 0, limit - 1, "WITHSCORES") for key in keys])
        found = [(BatchKey.parse(member), at) for reply in replies for member, at in scored(reply)]
        return sorted(found, key=lambda each: each[1])

    def count(self, partitions: Iterable[int]) -> int:
        """How many batches take events."""
        keys = [self._keys.partitions[number].gatherings for number in partitions]
        return sum(self._all([Command(key, "ZCARD", key) for key in keys]))

    def open_standings(self, gathering_ids: Sequence[str]) -> list[Standing | None]:
        """Where the open batches of gatherings stand; None where none is, or what is there cannot be read."""
        rows = self._fields([(each, ("flow", "key", "open")) for each in gathering_ids])
        return [_standing(each, row, True) for each, row in zip(gathering_ids, rows, strict=True)]

    def closed_standings(self, batches: Sequence[BatchKey]) -> list[Standing | None]:
        """As of ``open_standings``, of closed batches."""
        rows = self._fields([(each.gathering_id, ("flow", "key", f"closed:{each.number}")) for each in batches])
        return [_standing(each.gathering_id, row, False) for each, row in zip(batches, rows, strict=True)]

    def contents(self, standings: Sequence[Standing]) -> list[ClosedBatch | None]:
        """Closed batches with their events; None where these are not all there."""
        rows = self._fields([(each.batch.gathering_id, _places(each)) for each in standings])
        found = [[event for event in row if event is not None] for row in rows]
        pairs = zip(standings, found, strict=True)
        return [ClosedBatch(each, events) if len(events) == each.size else None for each, events in pairs]

    def _fields(self, wanted: Sequence[tuple[str, Sequence[str]]]) -> list[list[bytes | None]]:
        rows = [(self._keys.partition_of(each).gathering(each), names) for each, names in wanted]
        replies = self._link.exchange([Command(key, "HMGET", key, *names) for key, names in rows])
        pairs = zip(replies, wanted, strict=True)
        return [[None] * len(names) if found_damage(reply) else value_of(reply) for reply, (_, names) in pairs]

    def _all(self, commands: Sequence[Command]) -> list[Reply]:
        return [value_of(reply) for reply in self._link.exchange(commands)]


def _places(standing: Standing) -> list[str]:
    return [f"{standing.batch.number}/{place}" for place in range(standing.size)]


def _standing(gathering_id: str, row: Sequence[bytes | None], is_open: bool) -> Standing | None:
    flow, key, packed = row
    if flow is None or key is None or packed is None:
        return None
    try:
        fields: Any = unpack(packed)
        number, flow_hash, opened_at, closes_at, size, weight, _ = fields
        batch = BatchKey(gathering_id, number)
        times = float(opened_at), float(closes_at)
        return Standing(batch, flow.decode(), key.decode(), flow_hash, *times, int(size), int(weight), is_open)
    except (WireError, ValueError, TypeError):
        return None
