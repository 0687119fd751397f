"""How a run goes on: admit it, end its nodes, tell the dependents, find what is ready next.

A script tells at most EDGES_PER_SCRIPT dependents. What is left over, and what skipped nodes must pass on, is told by
further calls until nothing is left. Every call may be repeated, so a process that dies in between loses nothing: the
node's message, or its place in the outbox, brings another process here again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from taskmesh.dispatch.children.outcomes import Later
from taskmesh.dispatch.children.parents import Ended, Parents
from taskmesh.dispatch.dispatcher import Ready
from taskmesh.dispatch.edges import EdgeChunk
from taskmesh.dispatch.marks import Mark, marking_of
from taskmesh.dispatch.plan import BEFORE_FIRST, TO_PARENT, Plan
from taskmesh.model.events.waits import Awaited
from taskmesh.store.calls import Admission, NodeKey, Settlement, Spreading, Told, Word
from taskmesh.store.controls import Controls
from taskmesh.store.events.recorded import note_emitting
from taskmesh.store.events.waits import note_awaited
from taskmesh.store.staging import stage_items
from taskmesh.store.store import Request, Store
from taskmesh.wire import pack

SPREADS_PER_EXCHANGE = 50
"""How many spreading scripts go to Redis in one batch."""


@dataclass(frozen=True, slots=True)
class Entrance:
    """A run that wants in.

    ``items`` are the fields with those of its nodes, where they are copies. ``further`` are more fields to keep with
    it, names and values by turns. ``awaited`` is what the nodes of registered flows wait for that it begins.
    ``look_seconds`` as of ``Admission``.
    """

    plan: Plan
    run_id: str
    digest: bytes
    header: bytes
    params: bytes
    shard_key: str
    deadline_seconds: float | None = None
    items: tuple[bytes, ...] = ()
    look_seconds: float | None = None
    further: tuple[str | bytes, ...] = ()
    awaited: tuple[Awaited, ...] = ()


class Ending(NamedTuple):
    """An attempt that is over: succeeded, failed, cancelled, skipped, or retrying: after ``delay_seconds`` then.

    ``halt`` stops the run unless empty. One that is retrying and does not count uses up no attempt.
    ``cause`` says why a node waits or was skipped, or how it succeeded, where that is not by its own task; ``ticket``
    is that of the child run whose end it waits for.
    """

    plan: Plan
    key: NodeKey
    token: int
    shard_key: str
    state: str
    output: bytes = b""
    error: bytes = b""
    halt: str = ""
    delay_seconds: float = 0.0
    counts: bool = True
    cause: str = ""
    ticket: str = ""


def not_started(plan: Plan, key: NodeKey, token: int, shard_key: str, halt: str) -> Ending:
    """The end of an attempt that does not begin, as its run goes on no more; ``halt`` says how that ends, and why."""
    return cancelled(plan, key, token, shard_key, f"not started: the run is {halt}")


def cancelled(plan: Plan, key: NodeKey, token: int, shard_key: str, message: str) -> Ending:
    """The end of an attempt that nobody wants any more."""
    error = pack({"type": "Cancelled", "message": message, "traceback": ""})
    return Ending(plan, key, token, shard_key, "cancelled", error=error)


@dataclass(slots=True)
class Advance:
    """What followed from one call."""

    word: Word
    run_status: str = ""
    ready: list[Ready] = field(default_factory=list)


class _Step(NamedTuple):
    """One slice of dependents to tell, for the call with the place ``origin``."""

    origin: int
    plan: Plan
    key: NodeKey
    shard_key: str
    chunk: EdgeChunk


class Advancer:
    """Carries transitions out and follows them to their end."""

    def __init__(self, store: Store, parents: Parents | None = None) -> None:
        self._store = store
        self._controls = Controls(store)
        self._parents = parents or Parents(store)

    def admit(self, entrances: Sequence[Entrance]) -> list[Advance]:
        """Store runs and find their first nodes."""
        admissions = [admission_of(each) for each in entrances]
        note_emitting(self._store, admissions)
        note_awaited(self._store, admissions)
        told = self._store.admit_runs(admissions)
        missing = [at for at, answer in enumerate(told) if answer.word is Word.FLOW_MISSING]
        if missing:
            again = self._admit_with_all([admissions[at] for at in missing])
            for at, answer in zip(missing, again, strict=True):
                told[at] = answer
        advances = [
            _advance(each.plan, each.run_id, each.shard_key, answer)
            for each, answer in zip(entrances, told, strict=True)
        ]
        steps = (
            step
            for origin, each in enumerate(entrances)
            if advances[origin].word is not Word.CONFLICT
            for step in _steps(origin, each.plan, NodeKey(each.run_id, BEFORE_FIRST), each.shard_key, skip=1)
        )
        return self._follow(advances, deque(steps))

    def _admit_with_all(self, admissions: Sequence[Admission]) -> list[Told]:
        for each in admissions:
            if each.items:
                stage_items(self._store, each.run_id, each.items)
        return self._store.admit_runs(admissions, with_flow=True)

    def settle(self, endings: Sequence[Ending], holder: str) -> list[Advance]:
        """End attempts of a holder and find what is ready next; ``stale`` where another attempt has taken over."""
        return self.follow(endings, self._store.settle_nodes([_settlement(each) for each in endings], holder))

    def settling(self, endings: Sequence[Ending], holder: str) -> Request[Told]:
        """The first half of ``settle``, to be sent together with other calls; ``follow`` is the second."""
        return self._store.settling([_settlement(each) for each in endings], holder)

    def follow(self, endings: Sequence[Ending | Mark], told: Sequence[Told]) -> list[Advance]:
        """Go on from the answers to ``settling``, or to marks: find what is ready, tell who has not been told."""
        advances = [
            _advance(each.plan, each.key.run_id, each.shard_key, answer)
            for each, answer in zip(endings, told, strict=True)
        ]
        steps: deque[_Step] = deque()
        for origin, (each, answer) in enumerate(zip(endings, told, strict=True)):
            if answer.word in (Word.SETTLED, Word.MARKED, Word.AGAIN) and each.state != "retrying":
                steps.extend(_steps(origin, each.plan, each.key, each.shard_key, skip=1))
                steps.extend(_skipped_steps(origin, each.plan, each.key.run_id, each.shard_key, answer))
        return self._follow(advances, steps)

    def mark(self, marks: Sequence[Mark]) -> list[Advance]:
        """End nodes by hand and find what is ready next."""
        return self.follow(marks, self._controls.mark_nodes([marking_of(each) for each in marks]))

    def resume(self, plan: Plan, key: NodeKey, shard_key: str) -> Advance:
        """Tell again the dependents of a node that has ended: its teller may have died half-way.

        The node may be one of the places that stand before the first nodes, before the undos and before the parent.
        """
        [advance] = self._follow([Advance(Word.ENDED)], deque(_steps(0, plan, key, shard_key, skip=0)))
        return advance

    def _follow(self, advances: list[Advance], steps: deque[_Step]) -> list[Advance]:
        while steps:
            batch = [steps.popleft() for _ in range(min(len(steps), SPREADS_PER_EXCHANGE))]
            batch = self._tell_parents(advances, batch)
            answers = self._store.spread_nodes([_spreading(each) for each in batch]) if batch else []
            for step, answer in zip(batch, answers, strict=True):
                advance = advances[step.origin]
                advance.run_status = answer.run_status or advance.run_status
                advance.ready.extend(_ready(step.plan, step.key.run_id, step.shard_key, answer))
                steps.extend(_skipped_steps(step.origin, step.plan, step.key.run_id, step.shard_key, answer))
        return advances

    def _tell_parents(self, advances: list[Advance], batch: list[_Step]) -> list[_Step]:
        """What is ready by that belongs to other runs. Returns the steps but those that were put off."""
        steps = [step for step in batch if step.key.node == TO_PARENT]
        told = self._parents.tell([Ended(step.key.run_id, step.plan) for step in steps]) if steps else []
        for step, ready in zip(steps, told, strict=True):
            if isinstance(ready, Later):
                batch.remove(step)
            elif ready is not None:
                advances[step.origin].ready.append(ready)
        return batch


def _steps(origin: int, plan: Plan, key: NodeKey, shard_key: str, skip: int) -> Iterator[_Step]:
    for chunk in islice(plan.chunks(key.node), skip, None):
        yield _Step(origin, plan, key, shard_key, chunk)


def _skipped_steps(origin: int, plan: Plan, run_id: str, shard_key: str, answer: Told) -> Iterator[_Step]:
    for node in answer.skipped:
        yield from _steps(origin, plan, NodeKey(run_id, node), shard_key, skip=0)


def _advance(plan: Plan, run_id: str, shard_key: str, answer: Told) -> Advance:
    return Advance(answer.word, answer.run_status, list(_ready(plan, run_id, shard_key, answer)))


def _ready(plan: Plan, run_id: str, shard_key: str, answer: Told) -> Iterator[Ready]:
    return (Ready(plan, run_id, node, shard_key) for node in answer.ready)


def admission_of(entrance: Entrance) -> Admission:
    """What the store is asked for a run that wants in."""
    plan = entrance.plan
    first = plan.chunks(BEFORE_FIRST)[0]
    return Admission(
        run_id=entrance.run_id,
        digest=entrance.digest,
        header=entrance.header,
        flow_hash=plan.hash,
        flow_body=plan.body,
        params=entrance.params,
        shard_key=entrance.shard_key,
        node_count=len(plan.flow.nodes),
        pools=plan.pools,
        edges=first.packed,
        complete=first.last,
        deadline_seconds=entrance.deadline_seconds,
        undo_base=plan.undo_base,
        items=entrance.items,
        look_seconds=entrance.look_seconds,
        further=(*entrance.further, *plan.own_fields),
        awaited=(*plan.awaited, *entrance.awaited),
    )


def _settlement(ending: Ending) -> Settlement:
    plan = ending.plan
    first, node = plan.chunks(ending.key.node)[0], plan.node(ending.key.node)
    tolerated = plan.tolerated if ending.state == "failed" else None
    return Settlement(
        key=ending.key,
        token=ending.token,
        state=ending.state,
        output=ending.output,
        error=ending.error,
        halt=ending.halt or ("failed" if tolerated is not None else ""),
        tolerated=None if ending.halt else tolerated,
        flow_hash=plan.hash,
        pool=plan.pool_of(ending.key.node),
        pools=plan.pools,
        edges=first.packed,
        last=first.last,
        delay_seconds=ending.delay_seconds,
        counts=ending.counts,
        cause=ending.cause,
        can_be_undone=node.compensation is not None,
        compensates=plan.compensates,
        special=first.special,
        handled=ending.state == "failed" and plan.rules.handles(ending.key.node),
        outlasts_halt=node.trigger.runs_always or bool(ending.ticket),
        ticket=ending.ticket,
        bound=b"" if plan.is_undo(ending.key.node) else plan.bound,
    )


def _spreading(step: _Step) -> Spreading:
    plan, chunk = step.plan, step.chunk
    return Spreading(
        key=step.key,
        told_before=chunk.start,
        flow_hash=plan.hash,
        pool=plan.pool_of(step.key.node),
        pools=plan.pools,
        edges=chunk.packed,
        last=chunk.last,
        special=chunk.special,
        tells_parent=step.key.node == TO_PARENT,
    )
