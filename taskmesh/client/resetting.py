"""Makes the nodes of a paused run ready or waiting, as they must be for it to go on."""

from __future__ import annotations

from collections.abc import Mapping

from taskmesh.client.maps_again import MapsAgain
from taskmesh.client.parts import ClientParts
from taskmesh.client.wishes import Wish
from taskmesh.dispatch.advance import Advancer
from taskmesh.dispatch.maps.copies_again import CopyResets, copy_resets
from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.reopening import half_told, resets
from taskmesh.store.calls import NodeKey, Word
from taskmesh.store.controls import Controls
from taskmesh.store.records import NodeRecord

RESETS_PER_SCRIPT = 200


class Resetting:
    """Again and again from what is stored, in slices; whoever dies in between leaves what the next one finishes."""

    def __init__(self, parts: ClientParts) -> None:
        self._parts = parts
        self._controls = Controls(parts.store)
        self._advancer = Advancer(parts.store)
        self._maps = MapsAgain(parts)

    def reset(self, run_id: str, plan: Plan, shard_key: str, kind: str, wish: Wish) -> None:
        """Let run again what has not succeeded, and the node that the ``wish`` names with all that depends on it.

        ``kind`` is what the run is paused for.
        """
        while self._reset_some(run_id, plan, shard_key, kind, wish):
            pass

    def _reset_some(self, run_id: str, plan: Plan, shard_key: str, kind: str, wish: Wish) -> bool:
        """One look at what is stored, and what follows from it; False when nothing is left to do."""
        records = self._parts.reader.records_of_run(run_id)
        telling = half_told(plan, records)
        for node in telling:
            self._advancer.resume(plan, NodeKey(run_id, node), shard_key)
        if telling:
            return True
        resets_, further = self._resets(run_id, plan, records, wish)
        for start in range(0, len(resets_), RESETS_PER_SCRIPT):
            some = resets_[start : start + RESETS_PER_SCRIPT]
            if self._controls.reset_nodes(run_id, kind, plan.pools, some, further).word is not Word.RESET:
                return False
        return bool(resets_)

    def _resets(self, run_id: str, plan: Plan, records: Mapping[int, NodeRecord], wish: Wish) -> CopyResets:
        if plan.flow.copies:
            return copy_resets(plan, records, wish.place, wish.is_alone)
        reader = self._parts.reader
        continued = self._maps.continued(run_id, plan, records, wish)
        counts = reader.counts(run_id, "arrived"), wish.place, reader.counts(run_id, "skipped")
        return CopyResets(resets(plan, records, *counts, continued), ())
