"""Events that the scripts have recorded, until they are published."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from taskmesh.errors import WireError
from taskmesh.store.calls import Admission
from taskmesh.store.keys import Keys
from taskmesh.store.link import Command, Link, Reply, found_damage, value_of
from taskmesh.store.store import Store
from taskmesh.wire import unpack

RUN_ITSELF = -1
"""As the node of an event: the run."""

WATCHED = "watched"
"""The field of a run that says which of its ends are sent as events."""

_ID_BYTES = 16


class Emitted(NamedTuple):
    """The end of a run or of a node: ``state`` since ``at`` (epoch seconds), with so many attempts.

    ``member`` stands for it under ``key``, until it is published.
    """

    run_id: str
    kind: str
    node: int
    state: str
    at: float
    attempt: int
    member: bytes
    key: str

    @property
    def event_id(self) -> str:
        """The same each time that this event is read, and of no other event."""
        return hashlib.blake2b(self.member, digest_size=_ID_BYTES).hexdigest()


class Backlog(NamedTuple):
    """Events that wait to be published, and that were lost."""

    waiting: int
    lost: int


def note_emitting(store: Store, admissions: Sequence[Admission]) -> None:
    """Have keepers look for the events of runs; to be called before these are there, so that none is overlooked."""
    key = store.keys.emitting
    numbers = {store.keys.partition_of(each.run_id).number for each in admissions if WATCHED in each.further[::2]}
    if numbers:
        [reply] = store.link.exchange([Command(key, "SADD", key, *numbers)])
        value_of(reply)


class EventOutbox:
    """What waits to be published in some partitions."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    def partitions(self) -> frozenset[int]:
        """The numbers of the partitions that have had a run which sends events."""
        key = self._keys.emitting
        return frozenset(int(number) for number in self._all([Command(key, "SMEMBERS", key)])[0])

    def waiting(self, limit: int, partitions: Iterable[int]) -> list[Emitted]:
        """The oldest events of each partition, at most ``limit`` of each. What is no event is thrown away."""
        keys = [self._keys.partitions[number].emitted for number in partitions]
        replies = self._link.exchange([Command(key, "ZRANGE", key, 0, limit - 1) for key in keys])
        found: list[Emitted] = []
        for key, reply in zip(keys, replies, strict=True):
            members = [] if found_damage(reply) else value_of(reply)
            read = [(member, _emitted(member, key)) for member in members]
            found += [event for _, event in read if event is not None]
            if damaged := [member for member, event in read if event is None]:
                self._all([Command(key, "ZREM", key, *damaged)])
        return found

    def forget(self, published: Sequence[Emitted]) -> None:
        """Be done with events."""
        self._all([Command(each.key, "ZREM", each.key, each.member) for each in published])

    def backlog(self, partitions: Iterable[int]) -> Backlog:
        """How many events of these partitions wait, and how many had to go before anybody could publish them."""
        chosen = [self._keys.partitions[number] for number in partitions]
        waiting = self._all([Command(each.emitted, "ZCARD", each.emitted) for each in chosen])
        lost = self._all([Command(each.lost_events, "GET", each.lost_events) for each in chosen])
        return Backlog(sum(waiting), sum(int(count or 0) for count in lost))

    def facts(self, asked: Sequence[tuple[str, Sequence[str]]]) -> list[list[bytes | None]]:
        """Fields of runs, for each what was asked for; None for all of a run that is not there, or is damaged."""
        keys = [self._keys.run(run_id) for run_id, _ in asked]
        commands = [Command(key, "HMGET", key, *fields) for key, (_, fields) in zip(keys, asked, strict=True)]
        replies = zip(asked, self._link.exchange(commands), strict=True)
        return [[None] * len(fields) if found_damage(reply) else value_of(reply) for (_, fields), reply in replies]

    def _all(self, commands: Sequence[Command]) -> list[Reply]:
        return [value_of(reply) for reply in self._link.exchange(commands)]


def _emitted(member: bytes, key: str) -> Emitted | None:
    try:
        fields = unpack(member)
    except WireError:
        return None
    is_one = isinstance(fields, list) and len(fields) == len(_TYPES)
    if not is_one or not all(isinstance(each, kind) for each, kind in zip(fields, _TYPES, strict=True)):
        return None
    run_id, kind, node, state, at, attempt = fields
    return Emitted(run_id, kind, node, state, float(at), attempt, member, key)


_TYPES = (str, str, int, str, int | float, int)
"""Of the fields that a script writes; a time without a fraction is a whole number."""
