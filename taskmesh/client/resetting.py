"""Makes the nodes of a paused run ready or waiting, as they must be for it to go on."""

from __future__ import annotations

from taskmesh.client.parts import ClientParts
from taskmesh.dispatch.advance import Advancer
from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.reopening import half_told, resets
from taskmesh.store.calls import NodeKey, Word
from taskmesh.store.controls import Controls

RESETS_PER_SCRIPT = 200


class Resetting:
    """Again and again from what is stored, in slices; whoever dies in between leaves what the next one finishes."""

    def __init__(self, parts: ClientParts) -> None:
        self._parts = parts
        self._controls = Controls(parts.store)
        self._advancer = Advancer(parts.store)

    def reset(self, run_id: str, plan: Plan, shard_key: str, kind: str, origin: int | None) -> None:
        """Let run again what has not succeeded and, where there is an ``origin``, that node and all that depends on it.

        ``kind`` is what the run is paused for.
        """
        while self._reset_some(run_id, plan, shard_key, kind, origin):
            pass

    def _reset_some(self, run_id: str, plan: Plan, shard_key: str, kind: str, origin: int | None) -> bool:
        """One look at what is stored, and what follows from it; False when nothing is left to do."""
        records = self._parts.reader.records_of_run(run_id)
        telling = half_told(plan, records)
        for node in telling:
            self._advancer.resume(plan, NodeKey(run_id, node), shard_key)
        if telling:
            return True
        reader = self._parts.reader
        wishes = resets(plan, records, reader.counts(run_id, "arrived"), origin, reader.counts(run_id, "skipped"))
        for start in range(0, len(wishes), RESETS_PER_SCRIPT):
            some = wishes[start : start + RESETS_PER_SCRIPT]
            if self._controls.reset_nodes(run_id, kind, plan.pools, some).word is not Word.RESET:
                return False
        return bool(wishes)
