"""Child runs: begun, waited for and undone from the nodes of their parents.

A worker that has claimed such a node, or the keeper in a halted run, asks here what becomes of the node. Everything may
be asked again: a child has the same id whoever begins it, and what has ended says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

from taskmesh.dispatch.advance import Advance, Advancer, Entrance
from taskmesh.dispatch.children.births import NOTHING, Birth, Bodies, NoChild, entrance_of_child
from taskmesh.dispatch.children.closing import Closing
from taskmesh.dispatch.children.inputs import Around, ChildInputs, ChildUndoInputs
from taskmesh.dispatch.children.orphans import look_seconds
from taskmesh.dispatch.children.parents import Ended, Parents
from taskmesh.dispatch.dispatcher import Ready
from taskmesh.dispatch.gates import ValueOf
from taskmesh.dispatch.large_params import LargeParams
from taskmesh.dispatch.lookup import look_up
from taskmesh.dispatch.plan import BEFORE_UNDOS, TO_PARENT, Plan
from taskmesh.dispatch.plans import Plans
from taskmesh.errors import PayloadUnavailableError, StoreUnavailableError
from taskmesh.model.loops import Loop
from taskmesh.model.states import RunState
from taskmesh.model.subflows import ChildStep
from taskmesh.payload.large_values import CONDITION_BYTES, Fetching, LargeValues
from taskmesh.store.calls import ClaimAnswer, NodeKey, Who, Word
from taskmesh.store.controls import Controls
from taskmesh.store.family import CHILD_CANCELLED, CHILD_FAILED, Outcome, Parent, run_key, undo_ticket
from taskmesh.store.family_reader import FamilyReader
from taskmesh.store.flow_versions import flow_versions_of
from taskmesh.store.store import Store
from taskmesh.wire import unpack
from taskmesh.wire.codec import PutAsideError


class Taken(NamedTuple):
    """A node that was claimed: ``values`` are those of the fields of its inputs, without those of its gate."""

    plan: Plan
    key: NodeKey
    shard_key: str
    answer: ClaimAnswer
    values: Sequence[bytes | None]


class Verdict(NamedTuple):
    """What becomes of a node: it waits, by its ``ticket``, or has ended as succeeded, failed or cancelled.

    Or it is to be taken up ``beside`` the loop: by children that may fetch what was put aside. ``kind`` and ``message``
    are those of its error; a failure that is ``final`` is not tried again.
    """

    state: str
    ticket: str = ""
    output: bytes = b""
    kind: str = ""
    message: str = ""
    is_final: bool = False


EXHAUSTED = "LoopExhausted"

WAITS, SUCCEEDED, FAILED, CANCELLED, BESIDE = "waits", "succeeded", "failed", "cancelled", "beside"


class Children:
    """Looks after the child runs of claimed nodes.

    Where a node needs what was put aside, ``large`` fetches it and hands it on, which blocks; without it such a node is
    left, to be taken up ``beside``.
    """

    def __init__(
        self,
        store: Store,
        plans: Plans,
        max_value_bytes: int,
        parents: Parents | None = None,
        large: LargeValues | None = None,
    ) -> None:
        self._reader = FamilyReader.of(store)
        self._parents = parents or Parents(store)
        self._advancer = Advancer(store, self._parents)
        self._controls = Controls(store)
        self._closing = Closing(store)
        self._plans = plans
        self._max_value_bytes = max_value_bytes
        # By the name of a registered flow, where other plans are by a run.
        registered = Plans(flow_versions_of(store).body_of)
        self._large = large
        self._large_params = None if large is None else LargeParams(store, large)
        self._bodies = Bodies(registered.get, max_value_bytes, self._large_params)

    def take_up(self, taken: Sequence[Taken]) -> tuple[list[Verdict], list[Ready]]:
        """What becomes of nodes, and what is ready by that in their children; those that wait are to be parked.

        :raises StoreUnavailableError: some children may have begun; take all of the nodes up again.
        """
        ready: list[Ready] = []
        decided = [self._decided(each, ready) for each in taken]
        births = [(at, each) for at, each in enumerate(decided) if isinstance(each, Entrance)]
        advances = self._admitted([entrance for _, entrance in births]) if births else []
        verdicts = [each if isinstance(each, Verdict) else Verdict(WAITS) for each in decided]
        for (at, entrance), advance in zip(births, advances, strict=True):
            verdicts[at] = self._begun(taken[at], entrance, advance)
            ready += advance.ready if verdicts[at].state == WAITS else ()
        return verdicts, ready

    def _admitted(self, entrances: Sequence[Entrance]) -> list[Advance]:
        if self._large_params is None:
            return self._advancer.admit(entrances)
        self._large_params.refuse_forgotten(entrances)
        advances = self._advancer.admit(entrances)
        self._large_params.admitted(entrances)
        return advances

    def pause(self, run_id: str, parent: str) -> None:
        """Have a child do as its parent, which was paused while the child was begun, and may be resumed meanwhile."""
        who = Who(f"run {parent}", "its parent is paused")
        self._controls.pause_runs([run_id], who)
        [(paused,), (flow_hash, above)] = self._reader.picked([(parent, ("paused",)), (run_id, ("flow", "parent"))])
        if paused is None and flow_hash is not None:
            # Should its first nodes have lost their messages by then, they are in the outbox.
            self._controls.resume_runs([run_key(run_id, flow_hash, above)], who=who)

    def _decided(self, taken: Taken, ready: list[Ready]) -> Verdict | Entrance:
        try:
            return self._undone(taken, ready) if taken.plan.is_undo(taken.key.node) else self._decide(taken)
        except StoreUnavailableError:
            raise
        except Exception as error:
            if isinstance(error, PutAsideError) and self._large is None:
                return Verdict(BESIDE)
            # Whatever is wrong with one node, it must not stop the others.
            is_final = not isinstance(error, PayloadUnavailableError)
            return Verdict(FAILED, kind=type(error).__name__, message=str(error), is_final=is_final)

    def _decide(self, taken: Taken) -> Verdict | Entrance:
        """What is known of a node already, or the child that it begins."""
        inputs = taken.plan.inputs(taken.key.node)
        assert isinstance(inputs, ChildInputs)
        around, step = inputs.around(taken.values), _step(taken)
        turn = around.turn(taken.key, most_turns(step))
        if turn is None or around.heard is None:
            return self._next(taken, inputs, around, 0, NOTHING)
        verdict = self._ended(taken, around.heard)
        if verdict.state != SUCCEEDED or not isinstance(step, Loop):
            return verdict
        if step.is_done(self._value_of(taken)(verdict.output), turn + 1):
            return verdict
        if turn + 1 < step.max_iterations:
            return self._next(taken, inputs, around, turn + 1, verdict.output)
        message = (
            f"{step.condition!r} was false after each of {turn + 1} iterations; the last was run {around.heard.ticket}"
        )
        return Verdict(FAILED, kind=EXHAUSTED, message=message, is_final=True)

    def _value_of(self, taken: Taken) -> ValueOf:
        """Gives the value of something that is stored of the run of a node, for a condition."""
        return unpack if self._large is None else Fetching(self._large, taken.key.run_id, CONDITION_BYTES).value

    def _next(self, taken: Taken, inputs: ChildInputs, around: Around, turn: int, last: bytes) -> Verdict | Entrance:
        """A child that the node does not know the end of."""
        run_id = around.child_id(taken.key, turn)
        if taken.answer.halt:
            return self._halted(taken, run_id)
        # What is put aside for a child is put aside once: a node looks after its child by taking this way again.
        if self._large is not None and self._reader.statuses([run_id]) != [None]:
            return self._met(taken, run_id)
        left_seconds = taken.answer.left_seconds if _step(taken).ends_with_parent else None
        arguments = inputs.arguments(taken.values)
        birth = Birth(
            taken.plan, taken.key, taken.shard_key, arguments, around, left_seconds, turn, last, taken.answer.context
        )
        made = self._bodies.flow_of(birth)
        if isinstance(made, NoChild):
            return Verdict(SUCCEEDED, output=made.output)
        return entrance_of_child(birth, made, self._max_value_bytes)

    def _begun(self, taken: Taken, entrance: Entrance, advance: Advance) -> Verdict:
        """What becomes of a node whose child is there: it may have been begun before, and have ended."""
        self._plans.add(entrance.plan)
        return Verdict(WAITS, entrance.run_id) if advance.word is Word.ADMITTED else self._met(taken, entrance.run_id)

    def _met(self, taken: Taken, run_id: str) -> Verdict:
        """What becomes of a node whose child was there before."""
        [(above,)] = self._reader.fields_of_runs([run_id], ("parent",))
        if above is None or Parent.read(above).key != taken.key:
            message = f"a run {run_id}, which it would begin, is there already, and is none of its children"
            return Verdict(FAILED, kind="RunConflictError", message=message, is_final=True)
        self._hear(run_id)
        return Verdict(WAITS, run_id)

    def _halted(self, taken: Taken, run_id: str) -> Verdict:
        """A node of a run that goes on no more ends when its child has ended; without a child it does not begin."""
        [status] = self._reader.statuses([run_id])
        if status is None:
            return Verdict(CANCELLED, message=f"not started: the run is {taken.answer.halt}")
        if not _step(taken).ends_with_parent:
            # Nothing else of the node tells by then which run goes on alone.
            why = f"it waits no more for run {run_id}, which it has begun: its own run is {taken.answer.halt}"
            return Verdict(CANCELLED, message=why)
        if status.ended:
            self._hear(run_id)
        else:
            [(compensation,)] = self._reader.fields_of_runs([taken.key.run_id], ("compensation",))
            self._closing.stop([run_id], taken.key.run_id, taken.answer.halt, compensation is not None)
        return Verdict(WAITS, run_id)

    def _hear(self, run_id: str) -> None:
        """Have the node of a child hear of its end, if that has come; it does not wait then."""
        [child] = look_up(self._reader, self._plans, [NodeKey(run_id, TO_PARENT)])
        if child.plan is not None:
            # Where what it gave cannot be put aside now, the node waits, and hears of it with a later look or telling.
            with contextlib.suppress(PayloadUnavailableError):
                self._parents.tell([Ended(run_id, child.plan)])

    def _ended(self, taken: Taken, outcome: Outcome) -> Verdict:
        """What the end of its child means for a node."""
        if outcome.status is RunState.SUCCEEDED:
            size = len(outcome.output)
            if size <= self._max_value_bytes:
                return Verdict(SUCCEEDED, output=outcome.output)
            message = f"the result has {size} bytes; limits.max_value_bytes allows {self._max_value_bytes}"
            return Verdict(FAILED, kind="TooLargeError", message=message, is_final=True)
        if taken.answer.halt and outcome.is_cancelled:
            return Verdict(CANCELLED, message=outcome.message)
        kind = CHILD_CANCELLED if outcome.is_cancelled else CHILD_FAILED
        return Verdict(FAILED, kind=kind, message=outcome.message, is_final=outcome.is_cancelled)

    def _undone(self, taken: Taken, ready: list[Ready]) -> Verdict:
        """Have the children of a node undone, the last one first, or say how that came out."""
        inputs = taken.plan.inputs(taken.key.node)
        assert isinstance(inputs, ChildUndoInputs)
        around, walk = inputs.around(taken.values)
        key = NodeKey(taken.key.run_id, taken.key.node - len(taken.plan.flow.nodes))
        heard = around.turn(key, most_turns(_step(taken)))
        if heard is None and self._reader.statuses([around.child_id(key)]) == [None]:
            # It has succeeded without a child: its list was empty, or a person said so.
            return Verdict(SUCCEEDED, output=NOTHING)
        for turn in range(heard or 0, -1, -1):
            verdict = self._undo(taken, around.child_id(key, turn), walk, around.parent, ready)
            if verdict.state != SUCCEEDED:
                return verdict
        return Verdict(SUCCEEDED, output=NOTHING)

    def _undo(self, taken: Taken, run_id: str, walk: int, parent: Parent | None, ready: list[Ready]) -> Verdict:
        [child] = look_up(self._reader, self._plans, [NodeKey(run_id, BEFORE_UNDOS)])
        if child.plan is None:
            message = f"run {run_id} cannot be undone: it, or its flow, is not in the store any more"
            return Verdict(FAILED, kind="RunNotFoundError", message=message, is_final=True)
        ticket, depth = undo_ticket(run_id, walk), parent.depth + 1 if parent else 2
        name, pool = taken.plan.name_of(taken.key.node), child.plan.pools[0]
        again_seconds = look_seconds(taken.plan, taken.key.node)
        told = Parent(*taken.key, name, ticket, depth, pool).packed()
        [answer] = self._controls.compensate_runs([(run_id, child.plan.hash, pool)], told, again_seconds)
        if answer.word is Word.COMPENSATING:
            ready += self._advancer.resume(child.plan, child.key, child.shard_key).ready
            return Verdict(WAITS, ticket)
        if answer.word is Word.NOTHING or answer.detail == RunState.COMPENSATED:
            return Verdict(SUCCEEDED, output=NOTHING)
        message = f"run {run_id} is {answer.detail or 'not in the store any more'}"
        return Verdict(FAILED, kind=CHILD_FAILED, message=message, is_final=True)


def is_bound(plan: Plan, place: int) -> bool:
    """Whether the child of a node is halted, and paused, with its parent: not where no halt concerns the node."""
    return ends_with_parent(plan, place) and not plan.node(place).trigger.runs_always


def ends_with_parent(plan: Plan, place: int) -> bool:
    """Whether the child of a node goes on no more when the node, or its run, has ended."""
    step = plan.node(place).step
    return not isinstance(step, ChildStep) or step.ends_with_parent


def most_turns(step: ChildStep) -> int:
    """How many children a node begins at most within one attempt."""
    return step.max_iterations if isinstance(step, Loop) else 1


def _step(taken: Taken) -> ChildStep:
    step = taken.plan.node(taken.key.node).step
    assert isinstance(step, ChildStep)
    return step
