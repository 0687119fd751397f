"""Publishes the ready nodes of runs that go on: they have no messages while their run is paused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from taskmesh.client.parts import ClientParts
from taskmesh.dispatch.advance import Advancer
from taskmesh.dispatch.dispatcher import Ready, outgoing
from taskmesh.dispatch.plan import BEFORE_HOOKS, TO_PARENT, Plan
from taskmesh.dispatch.reopening import TOLD_ALL
from taskmesh.model.states import NodeState
from taskmesh.store.calls import NodeKey, Word
from taskmesh.store.records import NodeRecord

NODES_PER_EXCHANGE = 200


class Restarting:
    """What is not reached here, since the caller dies, is overdue, and published by the keeper."""

    def __init__(self, parts: ClientParts) -> None:
        self._parts = parts

    def start(self, run_ids: Sequence[str]) -> None:
        """Publish the ready nodes of runs."""
        for run_id in run_ids:
            for ready in self._redriven(run_id):
                self._parts.publisher.publish([outgoing(each) for each in ready])

    def hold(self, run_id: str) -> None:
        """Have the ready nodes of a paused run looked after, wherever they come from."""
        for _ in self._redriven(run_id):
            pass

    def tell_parents(self, run_ids: Sequence[str]) -> None:
        """Tell the parents of runs that have ended by hand, where they have one; the keeper would do it, too."""
        rows = self._parts.reader.fields_of_runs(run_ids, ("parent",)) if run_ids else []
        for run_id in [run_id for run_id, (parent,) in zip(run_ids, rows, strict=True) if parent]:
            self._tell_parent(run_id)

    def _tell_parent(self, run_id: str) -> None:
        found = self.plan_of(run_id)
        if found is not None:
            advance = Advancer(self._parts.store).resume(found[0], NodeKey(run_id, TO_PARENT), found[1])
            self._parts.publisher.publish([outgoing(each) for each in advance.ready])

    def plan_of(self, run_id: str) -> tuple[Plan, str] | None:
        """What a run is made of, and its shard key; None where there is no such run."""
        [flow_hash, shard_key] = self._parts.reader.run_fields(run_id, ("flow", "shard_key"))
        plan = self._parts.plans.get(flow_hash.decode(), run_id) if flow_hash else None
        return (plan, shard_key.decode()) if plan is not None and shard_key is not None else None

    def _redriven(self, run_id: str) -> Iterator[list[Ready]]:
        """The ready nodes of a run in slices, each with a token that has no message yet; none while it is paused."""
        found = self.plan_of(run_id)
        if found is None:
            return
        plan, shard_key = found
        records = self._parts.reader.records_of_run(run_id)
        nodes = [NodeKey(run_id, at) for at, each in records.items() if _is_due(at, each)]
        for start in range(0, len(nodes), NODES_PER_EXCHANGE):
            keys = nodes[start : start + NODES_PER_EXCHANGE]
            answers = self._parts.store.redrive_nodes([(key, plan.pool_of(key.node)) for key in keys])
            yield [
                Ready(plan, run_id, key.node, shard_key, answer.attempt, answer.token)
                for key, answer in zip(keys, answers, strict=True)
                if answer.word is Word.REDRIVE
            ]


def _is_due(place: int, record: NodeRecord) -> bool:
    """Whether it is ready, or stands before hooks that have not been told."""
    return record.state is NodeState.READY or (place == BEFORE_HOOKS and record.spread != TOLD_ALL)
