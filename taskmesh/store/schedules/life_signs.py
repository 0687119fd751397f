"""Which keepers have taken up ticks that are not done, and when each said last that it lives."""

from __future__ import annotations

from collections.abc import Sequence

from taskmesh.store.keys import Keys
from taskmesh.store.link import Command, Link, found_damage, value_of
from taskmesh.store.reader import scored

KEPT_SECONDS = 1.0
"""An older sign says nothing any more: what its keeper had taken up is looked after without it."""


class LifeSigns:
    """The signs of all keepers of a namespace. Times are in epoch seconds, by the store's clock."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._key = keys.beginning

    def give(self, holder: str, now: float) -> None:
        key = self._key
        self._exchange(
            [
                Command(key, "ZADD", key, repr(now), holder),
                Command(key, "ZREMRANGEBYSCORE", key, "-inf", repr(now - KEPT_SECONDS)),
            ]
        )

    def end(self, holder: str) -> None:
        """All that ``holder`` had taken up is done."""
        self._exchange([Command(self._key, "ZREM", self._key, holder)])

    def read(self, now: float) -> dict[str, float]:
        """The last sign of each keeper that has not ended; none where they are damaged."""
        command = Command(self._key, "ZRANGEBYSCORE", self._key, repr(now - KEPT_SECONDS), "+inf", "WITHSCORES")
        [reply] = self._link.exchange([command])
        return {} if found_damage(reply) else dict(scored(value_of(reply)))

    def _exchange(self, commands: Sequence[Command]) -> None:
        for reply in self._link.exchange(commands):
            value_of(reply)
