"""The first half of an attempt's life: a delivery is read, its node is claimed, and becomes work for an executor."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from functools import partial

from taskmesh.broker.protocol import AckToken, Delivery
from taskmesh.dispatch.advance import Ending
from taskmesh.dispatch.children.parents import Parents
from taskmesh.dispatch.inputs import kept_fields
from taskmesh.dispatch.maps.inputs import ItemInputs
from taskmesh.dispatch.plan import Plan
from taskmesh.errors import StoreUnavailableError, WireError
from taskmesh.model.subflows import ChildStep
from taskmesh.store.calls import Claim, ClaimAnswer, NodeKey, Word
from taskmesh.store.store import Request
from taskmesh.wire.codec import PutAsideError
from taskmesh.wire.messages import NodeMessage, ProbeMessage, decode_message
from taskmesh.worker.channels.protocol import Failure, Work
from taskmesh.worker.engine.admission import Admission
from taskmesh.worker.engine.attempt import Attempt, InFlight
from taskmesh.worker.engine.beside import Beside
from taskmesh.worker.engine.child_runs import ChildRuns
from taskmesh.worker.engine.deciding import Decided, decided, fields_of
from taskmesh.worker.engine.event_waits import EventWaiting, EventWaits
from taskmesh.worker.engine.inner import condition_values, is_inner
from taskmesh.worker.engine.parts import Parts
from taskmesh.worker.engine.settling import Settler
from taskmesh.worker.engine.work_pool import WorkPool

CLAIMS_PER_TURN = 128

FIELDS_PER_CLAIM = 200
"""A claim brings at most so many outputs with it; a wider join reads them in pages."""


class Intake:
    """Keeps deliveries until there is room for them, and turns them into works."""

    def __init__(
        self,
        parts: Parts,
        in_flight: InFlight,
        settler: Settler,
        admission: Admission,
        parents: Parents,
        beside: Beside,
        holder: str,
    ) -> None:
        self._parts = parts
        self._admission = admission
        self._in_flight = in_flight
        self._settler = settler
        self._holder = holder
        self._beside = beside
        self._child_runs = ChildRuns(parts, settler, parents, beside)
        self._event_waits = EventWaits(parts, settler)
        self._gathering = self._child_runs, self._event_waits
        self._deliveries: deque[Delivery] = deque()
        self._parked: list[Delivery] = []
        self._generation = 0

    def __len__(self) -> int:
        return len(self._deliveries)

    def add(self, delivery: Delivery) -> None:
        if delivery.token.generation > self._generation:
            # What waits here came over a connection that is gone: it cannot be acked, and comes again.
            self._generation = delivery.token.generation
            self._deliveries.clear()
            self._parked.clear()
        self._deliveries.append(delivery)

    @property
    def oldest(self) -> AckToken | None:
        """The message that waits longest."""
        return self._deliveries[0].token if self._deliveries else None

    @property
    def parked(self) -> int:
        """Deliveries of nodes that another holder runs, or has died with."""
        return len(self._parked)

    def unpark(self) -> None:
        """Look at the parked ones again."""
        self._deliveries.extend(self._parked)
        self._parked.clear()

    def give_up(self, keep: int) -> list[AckToken]:
        """Forget the newest deliveries, all but ``keep``; returns their acks."""
        self.unpark()
        tokens = []
        while len(self._deliveries) > keep:
            tokens.append(self._deliveries.pop().token)
        return tokens

    def request(self, room: int, tasks: Collection[str]) -> tuple[list[Attempt], Request[ClaimAnswer]] | None:
        """As many attempts as there is room for, and the question that claims their nodes; None when no message waits.

        ``tasks`` are those that are known here.

        :raises StoreUnavailableError: every delivery stays here.
        """
        attempts = self._read_deliveries(min(room, CLAIMS_PER_TURN))
        if not attempts:
            return None
        for attempt in attempts:
            attempt.is_unknown = attempt.task not in tasks and not is_inner(attempt)
        return attempts, self._parts.store.claiming([_claim_of(each) for each in attempts], self._holder)

    def take(self, attempts: Sequence[Attempt], answers: Sequence[ClaimAnswer], pool: WorkPool) -> None:
        """Hand what was claimed to the pool.

        :raises StoreUnavailableError: nothing was handed over; put the attempts back.
        """
        for gathering in self._gathering:
            gathering.begin()
        works = [self._begin(pool, *each) for each in zip(attempts, answers, strict=True)]
        for gathering in self._gathering:
            gathering.flush()
        pool.submit([work for work in works if work is not None])

    def put_back(self, attempts: Sequence[Attempt]) -> None:
        """Claim later what was asked for: a claim that did happen answers this holder the same."""
        for attempt in reversed(attempts):
            if self._in_flight.by_id(attempt.id) is not None:
                self._in_flight.remove(attempt)
                self._deliveries.appendleft(self._only_copy(attempt))

    def _read_deliveries(self, room: int) -> list[Attempt]:
        attempts: list[Attempt] = []
        try:
            while self._deliveries and len(attempts) < room:
                attempt = self._read(self._deliveries[0])
                self._deliveries.popleft()
                if attempt is not None:
                    attempts.append(attempt)
        except Exception:
            self.put_back(attempts)
            raise
        return attempts

    def _read(self, delivery: Delivery) -> Attempt | None:
        try:
            message = decode_message(delivery.body)
        except WireError as error:
            self._parts.dead_letters.bury(delivery, "undecodable", str(error))
            return None
        if isinstance(message, ProbeMessage):
            self._parts.dead_letters.note_probe(message, delivery.token)
            return None
        known = self._in_flight.by_key(NodeKey(message.run_id, message.node))
        if known is not None:
            self._join(known, message, delivery)
            return None
        plan = self._plan(message, delivery)
        return self._open(message, plan, delivery) if plan is not None else None

    def _join(self, known: Attempt, message: NodeMessage, delivery: Delivery) -> None:
        """A copy of a message is acked together with it."""
        if 0 < known.token < message.token:
            # The store has given the node away meanwhile: the end of this attempt will not count.
            self._parked.append(delivery)
        else:
            known.acks.append(delivery.token)

    def _plan(self, message: NodeMessage, delivery: Delivery) -> Plan | None:
        try:
            plan = self._parts.plans.get(message.flow_hash, message.run_id)
        except WireError as error:
            reason = f"the flow of run {message.run_id!r} cannot be read: {error}"
            self._parts.dead_letters.bury(delivery, "unreadable_flow", reason)
            return None
        if plan is None or not plan.knows(message.node):
            reason = f"run {message.run_id!r} or its node {message.node} is unknown in this store"
            self._parts.dead_letters.bury(delivery, "unknown_run", reason)
            return None
        return plan

    def _open(self, message: NodeMessage, plan: Plan, delivery: Delivery) -> Attempt:
        if delivery.redelivered:
            self._parts.tally.count("redelivered_total")
        attempt = Attempt(
            id=self._in_flight.next_id(),
            key=NodeKey(message.run_id, message.node),
            plan=plan,
            shard_key=message.shard_key,
            message_token=message.token,
            delivery=delivery,
            acks=[delivery.token],
        )
        self._in_flight.add(attempt)
        return attempt

    def _begin(self, pool: WorkPool, attempt: Attempt, answer: ClaimAnswer) -> Work | None:
        self._parts.tally.count("claims_total", (answer.word,))
        if answer.word is not Word.CLAIMED:
            self._refused(attempt, answer)
            return None
        attempt.token = answer.token
        attempt.number = answer.attempt
        attempt.retries, attempt.crashes, attempt.past = answer.retries, answer.crashes, answer.past
        if isinstance(attempt.node.step, ChildStep):
            self._child_runs.add(attempt, self._whole(attempt, answer))
            return None
        if ending := self._admission.ending(attempt, answer):
            self._settler.end(attempt, ending)
            return None
        return self._work(attempt, answer, pool)

    def _work(self, attempt: Attempt, answer: ClaimAnswer, pool: WorkPool) -> Work | None:
        try:
            answer = self._whole(attempt, answer)
            return self._made(attempt, answer, pool.tasks, decided(attempt, answer))
        except StoreUnavailableError:
            raise
        except PutAsideError:
            self._decide_beside(attempt, answer, pool)
        except Exception as error:
            # Whatever is wrong with one node, it must not stop the others.
            self._settler.end(attempt, attempt.failed(Failure(type(error).__name__, str(error), "")))
        return None

    def _decide_beside(self, attempt: Attempt, answer: ClaimAnswer, pool: WorkPool) -> None:
        def then(found: Decided) -> None:
            if work := self._made(attempt, answer, pool.tasks, found):
                pool.submit([work])
            self._event_waits.flush()

        decide = partial(decided, attempt, answer, condition_values(self._parts, attempt))
        self._beside.begin(attempt, decide, then)

    def _made(self, attempt: Attempt, answer: ClaimAnswer, known: Collection[str], found: Decided) -> Work | None:
        """The work of an attempt that goes to an executor; the end of another one is settled."""
        if found is None:
            begun = answer._replace(fields=answer.fields[-1:])
            self._settler.end(attempt, self._admission.handing_on(attempt, begun, known))
            return None
        if isinstance(found, EventWaiting):
            self._event_waits.add(found)
            return None
        if isinstance(found, Ending):
            self._settler.end(attempt, found)
            return None
        if attempt.node.guard and (ending := self._admission.parking(attempt, known)):
            self._settler.end(attempt, ending)
            return None
        context = (attempt.key.run_id, attempt.node_name, attempt.number)
        about = attempt.is_timed, answer.checkpoint, attempt.run_deadline, attempt.is_undo, answer.context
        inputs = attempt.plan.inputs(attempt.key.node)
        key = inputs.idempotency_key(answer.fields) if isinstance(inputs, ItemInputs) else ""
        return Work(attempt.id, attempt.runs, found, context, *about, key)

    def _whole(self, attempt: Attempt, answer: ClaimAnswer) -> ClaimAnswer:
        """The answer with all that was asked for."""
        fields = fields_of(attempt)
        if len(fields) <= FIELDS_PER_CLAIM:
            return answer
        return answer._replace(fields=tuple(self._parts.reader.run_fields(attempt.key.run_id, fields)))

    def _refused(self, attempt: Attempt, answer: ClaimAnswer) -> None:
        """A message that nobody needs is acked; but the dependents of an ended node may not all have been told."""
        if answer.word is Word.ENDED and (attempt.delivery.redelivered or answer.spread >= 0):
            self._settler.resume(attempt)
        elif answer.word is Word.HELD and attempt.delivery.redelivered:
            self._parked.append(self._only_copy(attempt))
        elif answer.word in _WITHOUT_A_RUN:
            label, why = _WITHOUT_A_RUN[answer.word]
            self._parts.dead_letters.bury(self._only_copy(attempt), label, f"run {attempt.key.run_id!r} {why}")
        else:
            # Held by another and not redelivered: the holder has a message of its own, which comes here if it dies.
            self._parts.consumer.ack(attempt.acks)
        self._in_flight.remove(attempt)

    def _only_copy(self, attempt: Attempt) -> Delivery:
        """One message to keep of an attempt that does not go on; its copies are acked."""
        self._parts.consumer.ack(attempt.acks[:-1])
        return attempt.newest_delivery


_FORGOTTEN = ("unknown_run", "is unknown in this store, or has forgotten what it had promised")
_WITHOUT_A_RUN = {
    Word.UNKNOWN: _FORGOTTEN,
    Word.FUTURE: _FORGOTTEN,
    Word.BROKEN: ("damaged_run", "is damaged in the store; its key does not hold what it must"),
}
"""The answers to a claim that say that there is nothing to run; how they are counted, and what a person is told."""


def _claim_of(attempt: Attempt) -> Claim:
    try:
        fields = fields_of(attempt)
    except Exception:
        # Arguments that cannot be made fail the node, for which it must be claimed first.
        fields = ()
    wanted = fields if len(fields) <= FIELDS_PER_CLAIM else kept_fields(attempt.plan.inputs(attempt.key.node))
    return Claim(attempt.key, attempt.message_token, wanted)
