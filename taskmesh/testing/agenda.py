"""What the store of a virtual mesh knows of the future."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum, auto
from itertools import islice

from taskmesh.dispatch.lookup import LookedUp, look_up
from taskmesh.dispatch.plans import Plans
from taskmesh.model.subflows import ChildStep
from taskmesh.model.waiting import Approve, Wait
from taskmesh.store.calls import NodeKey
from taskmesh.store.keys import Keys
from taskmesh.store.link import Command, Link, value_of
from taskmesh.store.reader import Reader, scored
from taskmesh.testing.world import Outlook

TIMERS = 1000
"""How many are read, the first ones; behind so many idle ones nothing is seen to be due."""


class Ring(Enum):
    """What a timer in the store is for."""

    DUE = auto()  # something happens then
    LOOK = auto()  # a node looks after a child run, which tells of its end by itself
    IDLE = auto()  # a node that waits without end only renews its timer


class Agenda:
    """Reads when anything is due next, and what is on its way. It goes past every outage."""

    def __init__(self, link: Link, keys: Keys, plans: Plans) -> None:
        self._link = link
        self._keys = keys
        self._reader = Reader(link, keys)
        self._plans = plans
        self._rings: dict[NodeKey, Ring] = {}

    def read(self, at_work: int, away_until: float | None) -> Outlook:
        """``at_work`` counts the attempts that run; ``away_until`` is when an outage ends, where there is one."""
        parts = self._keys.partitions
        waiting = [
            key for each in parts for key in (each.halted, each.due_ticks, each.busy_schedules, each.closed_batches)
        ]
        first = [key for each in parts for key in (each.schedules, each.gatherings)]
        commands = [Command(each.timers, "ZRANGE", each.timers, 0, TIMERS - 1, "WITHSCORES") for each in parts]
        commands += [Command(key, "ZRANGE", key, 0, 0, "WITHSCORES") for key in first]
        commands += [Command(key, "ZCARD", key) for key in waiting]
        commands.append(Command(self._keys.pools, "SMEMBERS", self._keys.pools))
        replies = iter([value_of(reply) for reply in self._link.exchange(commands)])
        timers = [pair for reply in islice(replies, len(parts)) for pair in scored(reply)]
        ticks = [at for reply in islice(replies, len(first)) for _, at in scored(reply)]
        counts = [int(reply) for reply in islice(replies, len(waiting))]
        ready = self._ready([pool.decode() for pool in next(replies)])
        rings = self._sorted({NodeKey.parse(member): at for member, at in timers})
        ends = [] if away_until is None else [away_until]
        on_its_way = (*counts, ready - at_work, away_until, at_work)
        is_restless = any(on_its_way[:-1])
        return Outlook(
            min([*rings[Ring.DUE], *ticks, *ends], default=math.inf),
            on_its_way if is_restless else (),
            min(rings[Ring.LOOK], default=math.inf),
        )

    def _sorted(self, timers: Mapping[NodeKey, float]) -> Mapping[Ring, list[float]]:
        """When timers ring, by what they are for, which never changes."""
        news = [key for key in timers if key not in self._rings]
        for found in look_up(self._reader, self._plans, news):
            self._rings[found.key] = _ring(found)
        by_ring: dict[Ring, list[float]] = {ring: [] for ring in Ring}
        for key, at in timers.items():
            by_ring[self._rings[key]].append(at)
        return by_ring

    def _ready(self, pools: list[str]) -> int:
        """How many nodes are ready or run, by the outboxes."""
        boxes = [each.outbox(pool) for each in self._keys.partitions for pool in pools]
        commands = [Command(box, "ZCARD", box) for box in boxes]
        return sum(int(value_of(reply)) for reply in self._link.exchange(commands)) if commands else 0


def _ring(found: LookedUp) -> Ring:
    if found.plan is None or found.key.node < 0:
        return Ring.DUE
    step = found.plan.node(found.key.node).step
    if isinstance(step, Wait | Approve) and step.timeout_seconds is None:
        return Ring.IDLE
    return Ring.LOOK if isinstance(step, ChildStep) else Ring.DUE
