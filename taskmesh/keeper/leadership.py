"""Which partitions this process keeps house in: each has one leader, known by a fenced lock in the partition itself.

Every candidate knows from the list of the others which partitions should be its own, by rendezvous hashing. Those it
takes as soon as they are free, the others only when nobody has led them for a whole lease, and until one asks for them
whose they should be. So the work is spread over the processes, and nobody decides about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from taskmesh.broker.rendezvous import priority
from taskmesh.store.aside import aside
from taskmesh.store.elections import Elections


class Wish(StrEnum):
    """What a candidate wants of a partition."""

    TAKE = "take"
    SPARE = "spare"
    YIELD = "yield"


class Leadership:
    """The partitions that one candidate leads, with the epochs that fence what it writes."""

    def __init__(self, elections: Elections, holder: str, lease_seconds: float) -> None:
        self._elections = elections
        self.holder = holder
        self._lease_seconds = lease_seconds
        self.epochs: dict[int, int] = {}
        """The partitions led, by number, and the epoch of each."""
        self.turns: dict[int, int] = {}
        """Whose turn it is in each partition, by number: 0 for the leader, then those in line behind it."""

    async def renew(self, now: float) -> None:
        """Take, keep and give up what is due; ``now`` by the store's clock.

        :raises StoreUnavailableError: nothing is led until the next call that succeeds.
        """
        try:
            self.epochs, self.turns = await aside(self._lead, now)
        except BaseException:
            self.epochs, self.turns = {}, {}
            raise

    def resign(self) -> None:
        """Give everything up, so that others need not wait for the end of the lease."""
        self.epochs, self.turns = {}, {}
        self._elections.stand_down(self.holder)
        wishes = [Wish.YIELD] * self._elections.partitions
        self._elections.lead(self.holder, self._lease_seconds, wishes)

    def _lead(self, now: float) -> tuple[dict[int, int], dict[int, int]]:
        rivals = self._elections.stand(self.holder, now, self._lease_seconds)
        places = [self._place(number, rivals) for number in range(self._elections.partitions)]
        wishes = [Wish.SPARE if place else Wish.TAKE for place in places]
        epochs = self._elections.lead(self.holder, self._lease_seconds, wishes)
        return epochs, {number: 0 if number in epochs else max(1, place) for number, place in enumerate(places)}

    def _place(self, number: int, rivals: Sequence[str]) -> int:
        """How many others should rather lead a partition."""
        what = f"partition {number}"
        own = priority(self.holder, what)
        return sum(priority(rival, what) > own for rival in rivals)
