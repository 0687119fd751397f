"""Who keeps house in which partition: one fenced lock in each, and the list of the candidates."""

from __future__ import annotations

from collections.abc import Sequence

from taskmesh.store.keys import Keys
from taskmesh.store.link import Command, Link, Reply, value_of
from taskmesh.store.scripts import Scripts
from taskmesh.store.store import SERVER_TIME


class Elections:
    """The locks of all partitions of a namespace."""

    def __init__(self, link: Link, keys: Keys, now: str = SERVER_TIME) -> None:
        self._link = link
        self._keys = keys
        self._script = Scripts()["lead_partition"]
        self._now = now

    @property
    def partitions(self) -> int:
        return len(self._keys.partitions)

    def stand(self, holder: str, now: float, lease_seconds: float) -> list[str]:
        """Say that ``holder`` is a candidate for so long; returns all candidates, by the store's time ``now``."""
        key = self._keys.keepers
        _, _, alive = self._exchange(
            [
                Command(key, "ZADD", key, repr(now + lease_seconds), holder),
                Command(key, "ZREMRANGEBYSCORE", key, "-inf", repr(now)),
                Command(key, "ZRANGE", key, 0, -1),
            ]
        )
        return [candidate.decode() for candidate in alive]

    def stand_down(self, holder: str) -> None:
        key = self._keys.keepers
        self._exchange([Command(key, "ZREM", key, holder)])

    def lead(self, holder: str, lease_seconds: float, wishes: Sequence[str]) -> dict[int, int]:
        """Take, keep or give up each partition as wished; returns the epochs of those led, by partition number.

        The words of ``wishes`` are those of ``lead_partition.lua``, one for each partition.
        """
        keepers = [partition.keeper for partition in self._keys.partitions]
        commands = [
            Command.of_script(self._script, [keeper], [self._now, holder, lease_seconds, wish])
            for keeper, wish in zip(keepers, wishes, strict=True)
        ]
        replies = self._exchange(commands)
        return {number: reply[1] for number, reply in enumerate(replies) if reply[0] == b"leading"}

    def _exchange(self, commands: Sequence[Command]) -> list[Reply]:
        return [value_of(reply) for reply in self._link.exchange(commands)]
