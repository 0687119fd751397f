"""Whether messages really arrive: how long ago the newest probe was sent that came through each shard.

A probe that one worker gets proves that the shard delivers, and is written into the store for all of them; so every
worker of a pool sees a shard that gives nothing, and a connection that is up and silent is no sign of health.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from taskmesh.broker.protocol import shard_queue_name
from taskmesh.clock import Clock
from taskmesh.observability.tally import Tally
from taskmesh.store.aside import aside
from taskmesh.store.housekeeping import Housekeeping

FRESH_SECONDS = 30.0
"""The keeper sends a probe about once a second, and one that does not come through again after ten."""


class Receipt:
    """The probes of the shards that an I/O process consumes."""

    def __init__(
        self, housekeeping: Housekeeping, namespace: str, pools: Sequence[str], shards: int, clock: Clock
    ) -> None:
        self._housekeeping = housekeeping
        self._clock = clock
        self._sent: dict[str, dict[str, float]] = {
            pool: {shard_queue_name(namespace, pool, shard): -math.inf for shard in range(shards)} for pool in pools
        }
        self._ahead_seconds = 0.0

    async def look(self) -> None:
        """Ask the store which probes came through.

        :raises StoreUnavailableError: what was known stands, and grows older.
        """
        self._ahead_seconds = await aside(self._housekeeping.time) - self._clock.monotonic()
        for pool, sent in self._sent.items():
            received = await aside(self._housekeeping.probes, pool)
            self._sent[pool] = {queue: received.get(queue, at) for queue, at in sent.items()}

    def tell(self, tally: Tally) -> None:
        """Set the metric, for the pools that a probe of every shard has come through."""
        now = self._clock.monotonic() + self._ahead_seconds
        for pool, sent in self._sent.items():
            age_seconds = now - min(sent.values())
            if math.isfinite(age_seconds):
                tally.set("probe_age_seconds", age_seconds, (pool,))

    @property
    def missing(self) -> str:
        """A sentence when a shard has brought nothing for too long; empty when all deliver."""
        now = self._clock.monotonic() + self._ahead_seconds
        for sent in self._sent.values():
            queue = min(sent, key=sent.__getitem__)
            age = now - sent[queue]
            if age > FRESH_SECONDS:
                return f"no probe has come through {queue} " + ("yet" if math.isinf(age) else f"for {age:.0f} s")
        return ""
