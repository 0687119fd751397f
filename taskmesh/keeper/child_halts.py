"""What the keeper does in a halted run about nodes that begin child runs: it stops the children, and waits for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from taskmesh.dispatch.advance import Advancer, Ending, cancelled
from taskmesh.dispatch.children.begun import begun_by
from taskmesh.dispatch.children.children import (
    CANCELLED,
    SUCCEEDED,
    WAITS,
    Children,
    Taken,
    Verdict,
    ends_with_parent,
    is_bound,
)
from taskmesh.dispatch.children.closing import Closing
from taskmesh.dispatch.children.parents import Parents
from taskmesh.dispatch.plan import Plan
from taskmesh.keeper.keeper import KeeperParts
from taskmesh.model.states import NodeState
from taskmesh.store.aside import aside
from taskmesh.store.calls import Claim, ClaimAnswer, NodeKey, Word
from taskmesh.store.family import WAITS_FOR_RUN, run_of_ticket, ticket_of
from taskmesh.store.records import NodeRecord
from taskmesh.wire import pack

LOOK_SECONDS = 60.0
"""A node that waits for a stopped child is told its end; should that be lost, it is looked at again after this."""


class Halted(NamedTuple):
    """A halted run, and what the messages of its nodes need. ``halt`` is what it ends as."""

    run_id: str
    plan: Plan
    shard_key: str
    halt: str


class ChildHalts:
    """Looks after the children of halted and terminated runs. One thread; ``holder`` is the name by which it claims."""

    def __init__(self, parts: KeeperParts, holder: str) -> None:
        self._parts = parts
        self._holder = holder
        self._advancer = Advancer(parts.store)
        self._closing = Closing(parts.store)
        # All of it is asked from threads.
        parents = Parents(parts.store, parts.large, put_off=None)
        self._children = Children(parts.store, parts.plans, parts.max_value_bytes, parents, parts.large)

    async def stop(self, run: Halted, records: Mapping[int, NodeRecord]) -> None:
        """Cancel the children that nodes wait for; again and again, until they have ended.

        :raises StoreUnavailableError: some may not have heard of it.
        """
        run_ids = [run_of_ticket(ticket) for at, ticket in _awaited(records) if is_bound(run.plan, at)]
        if run_ids:
            [(compensation,)] = await aside(self._parts.reader.fields_of_runs, [run.run_id], ("compensation",))
            why, undoes = f"its parent is {run.halt}", compensation is not None
            await aside(self._closing.stop, run_ids, run.run_id, why, undoes)

    async def terminate(self, run_id: str, plan: Plan) -> None:
        """Terminate the children that nodes of a terminated run have waited for."""
        if not plan.begins_children:
            return
        records = await aside(self._parts.reader.records_of_run, run_id)
        waited = [(at, run_of_ticket(ticket)) for at, ticket in _awaited(records)]
        begun = await aside(begun_by, self._parts.reader, plan, run_id, records)
        run_ids = [child for at, child in (*waited, *begun) if ends_with_parent(plan, at)]
        if run_ids:
            await aside(self._closing.terminate, run_ids, run_id)

    async def waking(self, run: Halted, keys: Sequence[NodeKey]) -> list[NodeKey]:
        """Those of some nodes that retry which do not wait for a child that is being stopped."""
        if not run.plan.begins_children:
            return list(keys)
        records = await aside(self._parts.reader.node_records, keys)
        return [
            key
            for key, record in zip(keys, records, strict=True)
            if record is None or not ticket_of(record.cause) or not is_bound(run.plan, key.node)
        ]

    async def end(self, run: Halted, nodes: Sequence[tuple[NodeKey, int]]) -> bool:
        """Claim nodes that begin children, each with its token, and end those that can end; says whether any has.

        :raises StoreUnavailableError: the others are looked at again.
        """
        inputs = [run.plan.inputs(key.node) for key, _ in nodes]
        claims = [Claim(key, token, each.fields) for (key, token), each in zip(nodes, inputs, strict=True)]
        answers = await aside(self._parts.store.claim_nodes, claims, self._holder)
        taken = [
            _taken(run, claim.key, answer)
            for claim, answer in zip(claims, answers, strict=True)
            if answer.word is Word.CLAIMED
        ]
        verdicts, ready = await aside(self._children.take_up, taken)
        endings = [_ending(*each) for each in zip(taken, verdicts, strict=True)]
        advances = await aside(self._advancer.settle, endings, self._holder)
        self._parts.dispatcher.publish([*ready, *(each for advance in advances for each in advance.ready)])
        return any(advance.word in (Word.SETTLED, Word.AGAIN) for advance in advances)


def _awaited(records: Mapping[int, NodeRecord]) -> Iterable[tuple[int, str]]:
    waiting = [(at, each) for at, each in records.items() if each.state is NodeState.RETRYING]
    return ((at, ticket) for at, each in waiting if (ticket := ticket_of(each.cause)))


def _taken(run: Halted, key: NodeKey, answer: ClaimAnswer) -> Taken:
    gate = run.plan.inputs(key.node).gate
    return Taken(run.plan, key, run.shard_key, answer, answer.fields[len(gate.fields) if gate else 0 :])


def _ending(taken: Taken, verdict: Verdict) -> Ending:
    plan, key, shard_key, answer, _ = taken
    if verdict.state == CANCELLED:
        return cancelled(plan, key, answer.token, shard_key, verdict.message)
    ending = Ending(plan, key, answer.token, shard_key, verdict.state, output=verdict.output)
    if verdict.state == SUCCEEDED:
        return ending
    if verdict.state == WAITS:
        cause = f"{WAITS_FOR_RUN}{verdict.ticket}"
        waiting = ending._replace(state="retrying", delay_seconds=LOOK_SECONDS, counts=False, cause=cause)
        return waiting._replace(ticket=verdict.ticket)
    return ending._replace(error=pack({"type": verdict.kind, "message": verdict.message, "traceback": ""}))
