"""How schedules stand: reads that change nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from taskmesh.store.keys import Keys, Partition
from taskmesh.store.link import Argument, Command, Link, Reply, found_damage, value_of
from taskmesh.store.reader import scored
from taskmesh.store.schedules.calls import (
    ActiveRun,
    PassedTicks,
    Pausing,
    Recorded,
    ScheduleRecord,
    Standing,
    StartedRun,
)
from taskmesh.wire import unpack

_STANDING = ("revision", "next", "active", "removed")
_COUNTS = ("begun", "skipped", "missed", "refused")
_RECORD = ("paused", "buffer", "created_at", "updated_at", *_COUNTS)
_ID_PAGE = 500

Until: TypeAlias = Mapping[int, float]
"""Partitions to read, by number, and up to which time in epoch seconds."""

EVERYTHING = 0
"""As a number of things that became of ticks: all that are kept."""


class ScheduleReader:
    """Reads the schedules of a store."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    def partitions(self) -> set[int]:
        """The numbers of the partitions that may have schedules."""
        key = self._keys.scheduling
        [numbers] = self._exchange([Command(key, "SMEMBERS", key)])
        return {int(number) for number in numbers}

    def due(self, until: Until, limit: int) -> list[tuple[str, float]]:
        """Schedules whose next run begins by then, and when, in epoch seconds: at most ``limit`` of each partition."""
        return self._range(until, limit, lambda partition: partition.schedules)

    def recorded(self, until: Until, limit: int, since: float = -math.inf) -> list[tuple[Recorded, float]]:
        """Ticks that are to begin runs, and since when, the oldest first: at most ``limit`` of each partition."""
        rows = self._range(until, limit, lambda partition: partition.due_ticks, since)
        return [(Recorded.parse(member), at) for member, at in rows]

    def busy(self, until: Until, limit: int) -> list[str]:
        """Schedules to look at before their next tick that nobody has looked at since, those first for whom that is the
        longest ago: at most ``limit`` of each partition."""
        return [member for member, _ in self._range(until, limit, lambda partition: partition.busy_schedules)]

    def ids(self) -> list[str]:
        """All schedules, in alphabetical order."""
        keys = [self._keys.partitions[number].schedules for number in sorted(self.partitions())]
        replies = self._exchange([Command(key, "ZRANGE", key, 0, -1) for key in keys])
        return sorted(member.decode() for reply in replies for member in reply)

    def standings(self, schedule_ids: Sequence[str]) -> list[Standing | None]:
        """Where schedules stand; None for one that is not there, or is damaged."""
        return [_standing(*each) for each in zip(schedule_ids, self._fields(schedule_ids, _STANDING), strict=True)]

    def definitions(self, revisions: Sequence[tuple[str, str]]) -> list[bytes | None]:
        """What revisions of schedules say; None where that is not kept."""
        keys = [self._keys.partition_of(schedule_id).schedule(schedule_id) for schedule_id, _ in revisions]
        commands = [
            Command(key, "HGET", key, f"definition:{each[1]}") for key, each in zip(keys, revisions, strict=True)
        ]
        return [None if found_damage(reply) else value_of(reply) for reply in self._link.exchange(commands)]

    def record(self, schedule_id: str) -> ScheduleRecord | None:
        """All that is stored of a schedule; None where there is none."""
        [record] = self.records([schedule_id], EVERYTHING)
        return record

    def records(self, schedule_ids: Sequence[str], history: int) -> list[ScheduleRecord | None]:
        """As of ``record``, for many, each with the newest ``history`` of what became of its ticks."""
        found: list[ScheduleRecord | None] = []
        for start in range(0, len(schedule_ids), _ID_PAGE):
            found += self._page(schedule_ids[start : start + _ID_PAGE], history)
        return found

    def _page(self, schedule_ids: Sequence[str], history: int) -> list[ScheduleRecord | None]:
        standings = self.standings(schedule_ids)
        there = [each for each in standings if each is not None]
        definitions = self.definitions([(each.schedule_id, each.revision) for each in there])
        rows = self._fields([each.schedule_id for each in there], _RECORD)
        lists = self._lists([each.schedule_id for each in there], history)
        rest = zip(there, definitions, rows, lists, strict=True)
        records = {each.schedule_id: _record(each, body, row, kept) for each, body, row, kept in rest}
        return [None if each is None else records[each.schedule_id] for each in standings]

    def _lists(self, schedule_ids: Sequence[str], history: int) -> list[tuple[Reply, Reply, int]]:
        commands = [command for each in schedule_ids for command in self._list_commands(each, history)]
        replies = self._exchange(commands)
        return [(replies[at], replies[at + 1], replies[at + 2]) for at in range(0, len(replies), 3)]

    def _list_commands(self, schedule_id: str, history: int) -> list[Command]:
        keys = self._keys.partition_of(schedule_id)
        started, passed, backfill = (
            keys.schedule_part(schedule_id, each) for each in ("started", "passed", "backfill")
        )
        ranges = [Command(key, "LRANGE", key, 0, history - 1) for key in (started, passed)]
        return [*ranges, Command(backfill, "ZCARD", backfill)]

    def _fields(self, schedule_ids: Sequence[str], names: Sequence[Argument]) -> list[list[bytes | None]]:
        keys = [self._keys.partition_of(each).schedule(each) for each in schedule_ids]
        replies = self._link.exchange([Command(key, "HMGET", key, *names) for key in keys])
        return [[None] * len(names) if found_damage(reply) else value_of(reply) for reply in replies]

    def _range(
        self, until: Until, limit: int, key_of: Callable[[Partition], str], since: float = -math.inf
    ) -> list[tuple[str, float]]:
        keys = [(key_of(self._keys.partitions[number]), last) for number, last in until.items()]
        commands = [
            Command(key, "ZRANGEBYSCORE", key, since, last, "WITHSCORES", "LIMIT", 0, limit) for key, last in keys
        ]
        return [row for reply in self._exchange(commands) for row in scored(reply)]

    def _exchange(self, commands: Sequence[Command]) -> list[Reply]:
        return [value_of(reply) for reply in self._link.exchange(commands)]


def _standing(schedule_id: str, row: Sequence[bytes | None]) -> Standing | None:
    revision, next_tick, active, removed = row
    if revision is None or removed is not None:
        return None
    flat = _flat(active)
    runs = tuple(ActiveRun(*flat[at : at + 3]) for at in range(0, len(flat), 3))
    return Standing(schedule_id, revision.decode(), int(next_tick) if next_tick else None, runs)


def _record(
    standing: Standing, definition: bytes | None, row: Sequence[bytes | None], lists: tuple[Reply, Reply, int]
) -> ScheduleRecord:
    paused, buffer, created_at, updated_at, *counts = row
    started, passed, backfill = lists
    return ScheduleRecord(
        standing=standing,
        definition=definition or b"",
        paused=Pausing(*unpack(paused)) if paused else None,
        waiting=_flat(buffer)[::2],
        backfill=backfill,
        counts={name: int(count or 0) for name, count in zip(_COUNTS, counts, strict=True)},
        created_at=float(created_at or 0),
        updated_at=float(updated_at or 0),
        started=[StartedRun(*unpack(entry)) for entry in started],
        passed=[PassedTicks(*unpack(entry)) for entry in passed],
    )


def _flat(packed: bytes | None) -> list[Any]:
    value = unpack(packed) if packed else []
    # An empty table of Lua is packed as a map.
    return value if isinstance(value, list) else []
