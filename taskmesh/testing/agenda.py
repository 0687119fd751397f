"""What the store of a virtual mesh knows of the future."""

from __future__ import annotations

import math
from itertools import islice

from taskmesh.store.keys import Keys
from taskmesh.store.link import Command, Reply, value_of
from taskmesh.store.reader import scored
from taskmesh.testing.link import VirtualLink
from taskmesh.testing.world import Outlook


class Agenda:
    """Reads when anything is due next, and what is on its way. ``at_work`` counts the attempts that run."""

    def __init__(self, link: VirtualLink, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    def read(self, at_work: int) -> Outlook:
        """Past every outage: the test itself always knows."""
        firsts = [key for each in self._keys.partitions for key in (each.timers, each.schedules)]
        waiting = [key for each in self._keys.partitions for key in (each.halted, each.due_ticks, each.busy_schedules)]
        commands = [Command(key, "ZRANGE", key, 0, 0, "WITHSCORES") for key in firsts]
        commands += [Command(key, "ZCARD", key) for key in waiting]
        commands.append(Command(self._keys.pools, "SMEMBERS", self._keys.pools))
        replies = iter([value_of(reply) for reply in self._link.real.exchange(commands)])
        due = [_score(reply) for reply in islice(replies, len(firsts))]
        counts = [int(reply) for reply in islice(replies, len(waiting))]
        ready = self._ready([pool.decode() for pool in next(replies)])
        due.append(self._link.away_until if self._link.is_away else math.inf)
        on_its_way = (*counts, ready - at_work, self._link.is_away, at_work)
        return Outlook(min(due), on_its_way if any(on_its_way[:-1]) else ())

    def _ready(self, pools: list[str]) -> int:
        """How many nodes are ready or run, by the outboxes."""
        boxes = [each.outbox(pool) for each in self._keys.partitions for pool in pools]
        commands = [Command(box, "ZCARD", box) for box in boxes]
        return sum(int(value_of(reply)) for reply in self._link.real.exchange(commands)) if commands else 0


def _score(reply: Reply) -> float:
    return next((score for _, score in scored(reply)), math.inf)
