"""The real scripts, asked the same questions as the reference model, and all that they left in Redis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from taskmesh.dispatch.advance import Advance, Advancer, Ending
from taskmesh.dispatch.maps.copies_again import CopyResets, copy_resets
from taskmesh.dispatch.plan import BEFORE_FIRST, TO_PARENT, Plan
from taskmesh.dispatch.reopening import resets
from taskmesh.store.calls import (
    Admission,
    Beat,
    Claim,
    Controlled,
    Marking,
    NodeKey,
    Release,
    Renewed,
    Settlement,
    Spreading,
    Told,
    Who,
)
from taskmesh.store.controls import Controls
from taskmesh.store.family import News, RunKey
from taskmesh.store.housekeeping import Housekeeping
from taskmesh.store.keys import Keys
from taskmesh.store.link import Command, Link, value_of
from taskmesh.store.preparations import Fork, Inheritance, Reset
from taskmesh.store.reader import Reader, scored
from taskmesh.store.signals import Signal, Signals
from taskmesh.store.store import Store
from taskmesh.wire import pack, unpack
from tests.model.answers import CHILD_LOOK_SECONDS, CONTEXT, RUN_HALTED, Answer
from tests.model.steering import BY_HAND, FORK, SENDER
from tests.model.stored import Stored, read_stored

BY_HAND_OUTPUT = b"an output that somebody gave"
INHERITED_OUTPUT = b"an output of another run"
RETENTION_SECONDS = 60.0
FOREVER = 1e12


class Lab:
    """A store below a namespace of its own, whose time the caller sets."""

    def __init__(self, link: Link, namespace: str, now: float) -> None:
        self.link = link
        self.keys = Keys(namespace, 2)
        self.store = Store(link, self.keys, RETENTION_SECONDS)
        self.advancer = Advancer(self.store)
        self._controls = Controls(self.store)
        self.set_time(now)

    def set_time(self, now: float) -> None:
        self.store.now = repr(now)
        self._housekeeping = Housekeeping(self.link, self.keys, RETENTION_SECONDS, now=repr(now))

    # One method for each script.

    def admit(
        self,
        plan: Plan,
        run_id: str,
        digest: bytes,
        with_flow: bool,
        deadline_seconds: float | None = None,
        parent: str = "",
    ) -> Answer:
        admitted = admission(plan, run_id, digest)
        further = (*admitted.further, "parent", parent) if parent else admitted.further
        wanted = replace(admitted, deadline_seconds=deadline_seconds, further=further, look_seconds=_look_of(parent))
        [told] = self.store.admit_runs([wanted], with_flow)
        return Answer(told.word, ready=told.ready)

    def claim(self, run_id: str, node: int, token: int, holder: str, sees: Sequence[int] = ()) -> Answer:
        """As for a node whose condition reads those that it ``sees``."""
        kept = (f"seen:{node}", *(f"node:{each}" for each in sees)) if sees else ()
        [answer] = self.store.claim_nodes([Claim(NodeKey(run_id, node), token, (*kept, "params"))], holder)
        if answer.word == "claimed":
            # Whatever has become of the run and of the node.
            assert answer.context == CONTEXT, "a claim came without the context of its run"
            seen = tuple(unpack(answer.fields[0])) if sees and answer.fields[0] else ()
            numbers = answer.attempt, answer.token
            return Answer(answer.word, numbers, answer.halt, checkpoint=answer.checkpoint, seen=seen)
        return Answer(answer.word, (answer.spread,) if answer.word == "ended" else ())

    def settle(
        self,
        plan: Plan,
        key: NodeKey,
        token: int,
        state: str,
        halt: str,
        holder: str,
        compensates: bool = False,
        tolerated: int | None = None,
    ) -> Answer:
        ended = settlement(plan, key, token, state, halt)
        ended = ended._replace(compensates=compensates, bound=plan.bound, tolerated=tolerated)
        return _told(self.store.settle_nodes([ended], holder))

    def wait(self, plan: Plan, key: NodeKey, token: int, delay: float, holder: str, ticket: str) -> Answer:
        """As a node that has begun a child run."""
        waiting = settlement(plan, key, token, "retrying", "")._replace(cause=f"run:{ticket}", ticket=ticket)
        waiting = waiting._replace(delay_seconds=delay, counts=False, outlasts_halt=True)
        return _told(self.store.settle_nodes([waiting], holder))

    def tell_parent(self, plan: Plan, key: NodeKey, ticket: str) -> Answer:
        news = News(key, plan.pool_of(key.node), ticket, f"{ticket} news".encode())
        return _renewed(self._controls.tell_parents([news]))

    def retry(self, plan: Plan, key: NodeKey, token: int, delay: float, holder: str, counts: bool = True) -> Answer:
        failed = settlement(plan, key, token, "retrying", "")
        return _told(self.store.settle_nodes([failed._replace(delay_seconds=delay, counts=counts)], holder))

    def beat(self, run_id: str, node: int, token: int, checkpoint: bytes, holder: str) -> Answer:
        [answer] = self.store.beat_nodes([Beat(NodeKey(run_id, node), token, checkpoint)], holder)
        return Answer(answer.word, text=answer.halt)

    def wake(self, plan: Plan, run_id: str, node: int) -> Answer:
        return _renewed(self.store.wake_nodes([(NodeKey(run_id, node), plan.pool_of(node))]))

    def signal(self, plan: Plan, run_id: str, node: int, id_: str) -> Answer:
        signal = Signal(NodeKey(run_id, node), plan.pool_of(node), id_, SENDER, b"payload of " + id_.encode(), "why")
        [answer] = Signals(self.store).signal_nodes([signal])
        return Answer(answer.word, (answer.attempt, answer.token) if answer.token else (), answer.detail)

    def spread(self, plan: Plan, run_id: str, node: int, place: int) -> Answer:
        return _told(self.store.spread_nodes([spreading(plan, NodeKey(run_id, node), place)]))

    def release(self, plan: Plan, key: NodeKey, token: int, counts: bool, holder: str) -> Answer:
        release = Release(key, token, plan.pool_of(key.node), counts)
        return _renewed(self.store.release_nodes([release], holder))

    def redrive(self, plan: Plan, run_id: str, node: int) -> Answer:
        return _renewed(self.store.redrive_nodes([(NodeKey(run_id, node), plan.pool_of(node))]))

    def halt(self, run_id: str, status: str, compensates: bool = False) -> Answer:
        return _controlled(self._controls.halt_runs([run_id], status, compensate=compensates))

    def compensate(self, plan: Plan, run_id: str, parent: str = "") -> Answer:
        wanted = [(run_id, plan.hash, plan.pools[0])]
        return _controlled(self._controls.compensate_runs(wanted, parent.encode(), _look_of(parent)))

    def pause(self, run_id: str) -> Answer:
        return _controlled(self._controls.pause_runs([run_id], Who("somebody", "why")))

    def resume(self, plan: Plan, run_id: str, kind: str = "user") -> Answer:
        return _controlled(self._controls.resume_runs([_run_key(plan, run_id)], kind))

    def mark(self, plan: Plan, run_id: str, node: int, state: str) -> Answer:
        return _told(self._controls.mark_nodes([marking(plan, NodeKey(run_id, node), state)]))

    def reopen(self, plan: Plan, run_id: str, kind: str) -> Answer:
        return _controlled([self._controls.reopen_run(run_id, plan.hash, kind, Who("somebody", "why"))])

    def reset(
        self, plan: Plan, run_id: str, kind: str, wishes: Sequence[Reset], further: Sequence[str | int] = ()
    ) -> Answer:
        return _controlled([self._controls.reset_nodes(run_id, kind, plan.pools, wishes, further)])

    def fork(
        self, plan: Plan, run_id: str, digest: bytes, with_flow: bool, deadline_seconds: float | None = None
    ) -> Answer:
        wanted = replace(admission(plan, run_id, digest), deadline_seconds=deadline_seconds)
        fork = Fork(FORK, pack(["another", [], [], "somebody", "why"]), pack([b"", 0.0]))
        return _controlled([self._controls.fork_run(wanted, fork, Who("somebody", "why"), with_flow)])

    def inherit(self, run_id: str, nodes: Iterable[int]) -> Answer:
        wishes = [Inheritance(node, INHERITED_OUTPUT) for node in nodes]
        return _controlled([self._controls.inherit_nodes(run_id, FORK, wishes)])

    def copy_resets(self, plan: Plan, run_id: str, origin: int | None) -> CopyResets:
        """As ``resets``, of copies."""
        return copy_resets(plan, Reader(self.link, self.keys).records_of_run(run_id), origin, origin is not None)

    def resets(self, plan: Plan, run_id: str, origin: int | None) -> list[Reset]:
        """What the product says must still be reset."""
        reader = Reader(self.link, self.keys)
        return resets(
            plan,
            reader.records_of_run(run_id),
            reader.counts(run_id, "arrived"),
            origin,
            reader.counts(run_id, "skipped"),
        )

    def terminate(self, plan: Plan, run_id: str) -> Answer:
        return _controlled(self._controls.terminate_runs([_run_key(plan, run_id)], Who("somebody", "why")))

    def renew(self, holder: str, lease_seconds: float) -> bool:
        return self._housekeeping.renew_holder(holder, lease_seconds)

    def end(self, holder: str) -> None:
        self._housekeeping.end_holder(holder)

    def forget_timer(self, run_id: str, node: int) -> None:
        if node == RUN_HALTED:
            self._housekeeping.forget_halted([run_id])
        else:
            self._housekeeping.forget_timer(NodeKey(run_id, node))

    def flush_scripts(self) -> None:
        [reply] = self.link.exchange([Command(self.keys.keepers, "SCRIPT", "FLUSH")])
        value_of(reply)

    # What workers do with several scripts.

    def settle_and_tell(self, plan: Plan, key: NodeKey, token: int, state: str, halt: str, holder: str) -> Advance:
        ending = Ending(plan, key, token, key.run_id, state, output_of(token), error_of(state), halt)
        [advance] = self.advancer.settle([ending], holder)
        return advance

    def tell_again(self, plan: Plan, run_id: str, node: int) -> Advance:
        return self.advancer.resume(plan, NodeKey(run_id, node), run_id)

    def timers(self) -> dict[tuple[str, int], float]:
        """When each run and node is to be woken, and since when runs stand among the halted ones."""
        boxes = [partition.halted for partition in self.keys.partitions]
        replies = self.link.exchange([Command(box, "ZRANGE", box, 0, -1, "WITHSCORES") for box in boxes])
        halted = [pair for reply in replies for pair in scored(value_of(reply))]
        rung = {(key.run_id, key.node): due for key, due in self._housekeeping.timers(FOREVER, 1000)}
        return rung | {(run_id, RUN_HALTED): since for run_id, since in halted}

    def retrying(self, run_id: str) -> set[int]:
        return set(self._housekeeping.retrying_nodes(run_id, 1000))

    def read(self, plans: Mapping[str, Plan]) -> Stored:
        return read_stored(self.link, self.keys, plans)


def _look_of(parent: str) -> float | None:
    return CHILD_LOOK_SECONDS if parent else None


def _run_key(plan: Plan, run_id: str) -> RunKey:
    return RunKey(run_id, plan.hash, plan.pools[0])


def admission(plan: Plan, run_id: str, digest: bytes) -> Admission:
    first = plan.chunks(BEFORE_FIRST)[0]
    header = pack([plan.flow.name, plan.flow.version, {}, len(plan.flow.nodes)])
    return Admission(
        run_id,
        digest,
        header,
        plan.hash,
        plan.body,
        pack({}),
        run_id,
        len(plan.flow.nodes),
        plan.pools,
        first.packed,
        first.last,
        undo_base=plan.undo_base,
        further=("context", CONTEXT, *plan.own_fields),
    )


def settlement(plan: Plan, key: NodeKey, token: int, state: str, halt: str) -> Settlement:
    """As by a teller who dies before it has told more than the first slice."""
    first, pool = plan.chunks(key.node)[0], plan.pool_of(key.node)
    written = output_of(token), error_of(state)
    return Settlement(
        key,
        token,
        state,
        *written,
        halt,
        plan.hash,
        pool,
        plan.pools,
        first.packed,
        first.last,
        can_be_undone=plan.node(key.node).compensation is not None,
        special=first.special,
        handled=plan.rules.handles(key.node),
    )


def marking(plan: Plan, key: NodeKey, state: str) -> Marking:
    first, pool = plan.chunks(key.node)[0], plan.pool_of(key.node)
    told = plan.pools, first.packed, first.last, plan.node(key.node).compensation is not None
    turn = plan.node(key.node).is_flow_hook or bool(plan.bound), plan.bound
    return Marking(key, state, BY_HAND_OUTPUT, BY_HAND, plan.hash, pool, *told, first.special, *turn)


def spreading(plan: Plan, key: NodeKey, place: int) -> Spreading:
    chunk = plan.chunks(key.node)[place]
    pool = plan.pool_of(key.node)
    told = chunk.packed, chunk.last, chunk.special
    return Spreading(key, chunk.start, plan.hash, pool, plan.pools, *told, tells_parent=key.node == TO_PARENT)


def output_of(token: int) -> bytes:
    """An output that tells which attempt wrote it."""
    return b"output of %d" % token


def error_of(state: str) -> bytes:
    return b"" if state == "succeeded" else state.encode()


def _told(answers: list[Told]) -> Answer:
    [told] = answers
    return Answer(told.word, text=told.run_status, ready=told.ready, skipped=told.skipped)


def _controlled(answers: list[Controlled]) -> Answer:
    [answer] = answers
    return Answer(answer.word, text=answer.detail)


def _renewed(answers: list[Renewed]) -> Answer:
    [answer] = answers
    return Answer(answer.word, (answer.attempt, answer.token) if answer.token else ())
