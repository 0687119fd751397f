"""How many messages each shard may send ahead: many when tasks are short, few when they are long."""

from __future__ import annotations

AHEAD = 256
"""Per shard, when tasks are short. One shard can carry a whole wide run, and a message is about 10 ms on its way from
the broker to its ack, so 64 would hold that run below 6,400 nodes a second (seen), whatever the executors can do."""

SCARCE = 1
"""Per shard, when tasks are long: what waits here could run elsewhere."""

SHORT_TASK_WINDOW = 16
"""A pool that wants so many works at once runs short ones."""


class Prefetch:
    """Follows the pool's window. ``fixed`` 0 means: adapt."""

    def __init__(self, fixed: int, shards: int) -> None:
        self._fixed = fixed
        self._shards = shards
        self.current = fixed or SCARCE

    def adapt(self, window: int) -> int | None:
        """The new prefetch of a shard, or None when it stays."""
        if self._fixed:
            return None
        wanted = AHEAD if window >= SHORT_TASK_WINDOW else max(SCARCE, -(-window // self._shards))
        if wanted == self.current:
            return None
        self.current = wanted
        return wanted
