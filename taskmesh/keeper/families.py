"""Looks after child runs that are to end with their parents, should nobody wait for them any more.

Most have ended, and told their parents, before the first look. What goes on is looked at again when it is twice as old.
"""

from __future__ import annotations

from taskmesh.dispatch.children.orphans import FIRST_LOOK_SECONDS, Orphans
from taskmesh.keeper.keeper import KeeperParts
from taskmesh.store.aside import aside

CHILDREN_PER_PASS = 200
"""How many child runs of one partition one pass looks at."""

LAST_LOOK_SECONDS = 600.0
"""However old a child is, it is looked at again after this."""


class Families:
    """Looks after the children of the partitions that this process leads. One thread."""

    def __init__(self, parts: KeeperParts) -> None:
        self._parts = parts
        self._orphans = Orphans(parts.store, parts.plans)

    async def look(self) -> None:
        """End children that nobody waits for any more; to be called after each pass of the keeper.

        :raises StoreUnavailableError: the look ended half-way, which does no harm.
        """
        led, housekeeping = dict(self._parts.leadership.epochs), self._parts.housekeeping
        if not led:
            return
        now = await aside(housekeeping.time)
        run_ids = await aside(housekeeping.children, now, CHILDREN_PER_PASS, led)
        if not run_ids:
            return
        begun = await aside(self._orphans.end, run_ids)
        await aside(housekeeping.forget_children, [run_id for run_id in run_ids if run_id not in begun])
        await aside(housekeeping.postpone_children, [(run_id, now + _rest(now - at)) for run_id, at in begun.items()])


def _rest(age_seconds: float) -> float:
    return min(max(FIRST_LOOK_SECONDS, age_seconds), LAST_LOOK_SECONDS)
