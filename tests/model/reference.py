"""What a run may do, as plain values: what the scripts of the store are compared with.

Only what cannot be derived is kept: a record for each node that does not wait, how many of its dependents each has
told, and why the run was halted. How many nodes remain, what each has counted, what is in the outbox and the status of
the run follow from that; so a script that counts twice, or forgets, differs from it.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from tests.model import copies
from tests.model.answers import RUN_DEADLINE, RUN_HALTED, Answer
from tests.model.family import Family, cause_of
from tests.model.records import ENDED, NodeModel
from tests.model.shape import BEFORE_UNDOS, ROOT, TO_PARENT, Shape
from tests.model.steering import FORK, SENDER, Steering
from tests.model.telling import Telling

FIRST_CLAIM = 2
"""The token that a node gets with its first claim."""


__all__ = ["ENDED", "NodeModel", "RunModel"]


class RunModel(Telling, Steering, Family):
    """One admitted run. ``now`` is set by the caller; a timer may get lost, so those that are set are kept.

    ``undos`` is some, done or failed as the scripts have it, ``compensation`` how often undoing was begun, ``blocked``
    why an undo that has not heard from all others will not run. ``seen`` has, by node, others and their states by
    turns. ``kept_end`` is how it ended, which node had failed and why, as the hooks of its flow were told. ``begun`` is
    the copy that begins next where only so many may run at once; it is stored once there was one. ``failures`` counts
    the copies that have failed where that is bounded.
    """

    has_begun_more = False
    failures = 0

    def __init__(self, shape: Shape, deadline: float | None = None, forked: bool = False, parent: str = "") -> None:
        self.shape = shape
        self.parent = parent
        self.news: dict[int, str] = {}
        self.nodes: dict[int, NodeModel] = {}
        self.halt = ""
        self.failed_node: int | None = None
        self.now = 0.0
        self.deadline = deadline
        self.timers: dict[int, float] = {} if deadline is None else {RUN_DEADLINE: deadline}
        self.checkpoints: dict[int, bytes] = {}
        self.seen: dict[int, tuple[int | str, ...]] = {}
        self.signals: dict[int, str] = {}
        self.counts: dict[int, int] = {}
        self.missed: dict[tuple[str, int], int] = {}
        self.remembered: list[tuple[Any, ...]] = []
        self.undos = ""
        self.compensation: int | None = None
        self.blocked: dict[int, str] = {}
        self.kept_end: tuple[str, int | None, bytes] | None = None
        self.begun = shape.bound
        if forked:
            # Nothing of it is ready before it is prepared; and it goes on until it is resumed, whatever it inherits.
            self.altered, self.paused, self.reopened = True, FORK, True
        elif len(shape.children[ROOT]) > shape.slice_size:
            self.nodes[ROOT] = NodeModel("succeeded")
            self.tell(ROOT, 0)
        else:
            self.nodes.update({at: NodeModel("ready") for at in shape.children[ROOT]})

    @property
    def walk(self) -> int:
        """Which undoing this is, counted from 1; 0 before the first."""
        return self.compensation or 0

    @property
    def remaining(self) -> int:
        count = len(self.shape.parents)
        places = range(count, 2 * count) if self.walk else range(count)
        return sum(1 for at in places if at not in self.nodes or not self._is_done(self.nodes[at]))

    def _is_done(self, node: NodeModel) -> bool:
        return node.ended and node.walk == self.walk

    @property
    def status(self) -> str:
        if self.terminated:
            return "terminated"
        if self.remaining or self.reopened:
            return "compensating" if self.walk else "running"
        if self.undos in ("done", "failed"):
            return {"done": "compensated", "failed": "compensation_failed"}[self.undos]
        return self.cause

    @property
    def cause(self) -> str:
        """How it ends where nothing is undone."""
        return self.halt or ("succeeded" if self.failed_node is None else "failed")

    @property
    def has_ended(self) -> bool:
        return self.terminated or not (self.remaining or self.reopened)

    @property
    def is_halted(self) -> bool:
        """Whether nothing new may start; undos may, whatever the run was halted for."""
        return bool(self.halt) and self.status == "running"

    @property
    def outbox(self) -> set[int]:
        """Every node that somebody must still do something for."""
        if self.left is not None:
            return self.left
        due = {at for at, node in self.nodes.items() if node.state != "waiting" and not self.has_told_all(at)}
        return due - self.forgotten

    @property
    def retrying(self) -> set[int]:
        if self.terminated:
            return set()
        return {at for at, node in self.nodes.items() if node.state == "retrying"} - self.unlisted

    def admit_again(self) -> Answer:
        first = self.shape.children[ROOT][: self.shape.slice_size]
        return Answer("same", ready=self.in_state("ready", first))

    def claim(self, node: int, token: int, holder: str, living: Container[str]) -> Answer:
        record = self.nodes.get(node)
        if record is None or (record.state in ("retrying", "waiting") and not self.terminated):
            return Answer("early")
        is_void = self.terminated and node != TO_PARENT
        if is_void or record.ended:
            return Answer("ended", (-1 if is_void or self.has_told_all(node) else record.told,))
        if token > record.token:
            return Answer("future")
        if record.state == "running" and record.holder != holder and record.holder in living:
            return Answer("held")
        if record.state != "running" or record.holder != holder:
            if self.paused and not self.halt:
                return Answer("paused")
            if record.state == "running":
                self.remember_attempt(node, "ready", "taken_over")
            attempt, token = record.attempt + 1, record.token + 1
            record = record._replace(state="running", attempt=attempt, token=token, holder=holder, due=0.0)
            self.nodes[node] = record
            self.see(node)
        halt = self.halt if self.is_halted else ""
        # Asked again, the holder of the first token gets the answer that it got first: nobody had said anything then.
        checkpoint = self.checkpoints.get(node, b"") if record.token > FIRST_CLAIM else b""
        seen = self.seen.get(node, ())
        return Answer("claimed", (record.attempt, record.token), halt, checkpoint=checkpoint, seen=seen)

    def see(self, node: int) -> None:
        """What a condition of a node would be decided by, from its first claim on."""
        read = [(at, self.nodes[at].state if at in self.nodes else "waiting") for at in self.shape.sees(node)]
        if read:
            self.seen.setdefault(node, tuple(value for pair in read for value in pair))

    def beat(self, node: int, token: int, checkpoint: bytes, holder: str) -> Answer:
        record = self.nodes.get(node)
        if record is None:
            return Answer("unknown")
        if self.terminated or (record.state, record.token, record.holder) != ("running", token, holder):
            return Answer("stale")
        if checkpoint:
            self.checkpoints[node] = checkpoint
        return Answer("beaten", text=self.halt if self.is_halted else "")

    def settle(
        self,
        node: int,
        token: int,
        state: str,
        halt: str,
        holder: str,
        compensates: bool = False,
        tolerated: int | None = None,
    ) -> Answer:
        record = self.nodes.get(node)
        if record is None:
            return Answer("unknown")
        if self.terminated or record.token != token or record.state in ("ready", "retrying", "waiting"):
            return Answer("stale")
        if record.holder != holder:
            return Answer("stale")
        if record.ended:
            return self.told_before("again", node, 0)
        error = record.error if state == "succeeded" else state.encode()
        attempt = record.attempt - (state == "skipped")
        self.nodes[node] = record._replace(state=state, told=0, error=error, attempt=attempt)
        self.note_outcome(node, state)
        self.intend(compensates and state == "failed" and not self.halt)
        if halt and tolerated is not None:
            self.failures += 1
        is_tolerated = tolerated is not None and self.failures <= tolerated
        is_halting = bool(halt) and not is_tolerated and not self.halt
        if is_halting:
            self.halt = halt
        followers = copies.let_next_begin(self, node)
        answer = self.tell_first("settled", node)
        answer = answer._replace(ready=(*answer.ready, *followers))
        if is_halting and self.status == "running":
            self.timers[RUN_HALTED] = self.now
        return answer

    def note_outcome(self, node: int, state: str) -> None:
        if self.shape.is_undo(node):
            if self.undos != "failed":
                self.undos = "done" if state == "succeeded" else "failed"
        elif state == "failed" and self.failed_node is None and not self.shape.is_handled(node):
            self.failed_node = node
        elif state == "succeeded" and node in self.shape.undoable:
            self.undos = self.undos or "some"

    def intend(self, compensates: bool) -> None:
        if compensates and self.compensation is None:
            self.compensation = 0

    def retry(self, node: int, token: int, delay: float, holder: str, counts: bool = True, ticket: str = "") -> Answer:
        """With a ticket, the node waits for the end of a child run."""
        record = self.nodes.get(node)
        if record is None:
            return Answer("unknown")
        if self.terminated:
            return Answer("stale")
        if record.token == token and record.state == "retrying":
            return Answer("again", text=self.status)
        if (record.state, record.token, record.holder) != ("running", token, holder):
            return Answer("stale")
        self.remember_attempt(node, "retrying", cause_of(ticket) or ("" if counts else "handed_on"))
        has_heard = bool(ticket) and self.news.get(node) == ticket
        due = self.now if has_heard or (self.is_halted and not ticket) else self.now + delay
        self.nodes[node] = record._replace(
            state="retrying",
            holder="",
            attempt=record.attempt - (not counts),
            retries=record.retries + counts,
            due=due,
            error=b"retrying",
            cause=cause_of(ticket),
        )
        self.timers[node] = due
        self.enter_outbox(node)
        self.unlisted -= {node}
        is_paused = bool(ticket and self.paused)
        return Answer("told" if has_heard else "retrying", text="paused" if is_paused else self.status)

    def wake(self, node: int) -> Answer:
        record = self.nodes.get(node) if not self.terminated else None
        if record is not None and record.state == "retrying" and record.due > self.now and not self.is_halted:
            return Answer("early")
        self.timers.pop(node, None)
        if record is not None and record.state == "retrying":
            return self.make_ready("woken", node, record)
        if record is None or record.state != "ready":
            return Answer("settled")
        return Answer("again", (record.attempt, record.token))

    def signal(self, node: int, id_: str) -> Answer:
        """Something that a node waits for has come; ``id_`` tells it from others."""
        record = self.nodes.get(node)
        is_over = self.has_ended or (record is not None and record.ended)
        if self.signals.get(node) == id_:
            is_ready = not is_over and record is not None and record.state == "ready"
            return Answer("again", (record.attempt, record.token) if record and is_ready else ())
        if is_over:
            return Answer("ended", text=self.status)
        if node in self.signals:
            return Answer("taken", text=SENDER)
        self.signals[node] = id_
        self.remembered.append(("signal", self.now, node))
        if record is None or record.state not in ("retrying", "running"):
            return Answer("signalled")
        if record.state == "retrying":
            self.timers.pop(node, None)
            return self.make_ready("signalled", node, record)
        self.remember_attempt(node, "ready", "signalled")
        return self.make_ready("signalled", node, record._replace(attempt=record.attempt - 1))

    def release(self, node: int, token: int, counts: bool, holder: str) -> Answer:
        record = self.nodes.get(node) if not self.terminated else None
        if record and (record.state, record.token) == ("ready", token + 1):
            return Answer("released", (record.attempt, record.token))
        if record is None or (record.state, record.token, record.holder) != ("running", token, holder):
            return Answer("stale")
        self.remember_attempt(node, "ready", "released")
        return self.make_ready("released", node, record._replace(attempt=record.attempt - (not counts)))

    def redrive(self, node: int, living: Container[str]) -> Answer:
        record = self.nodes.get(node)
        if node == TO_PARENT:
            return self.redrive_to_parent()
        if self.left is not None:
            self.leave_outbox(node)
        if record is None or self.terminated or record.state == "waiting" or self.has_told_all(node):
            return Answer("settled")
        self.enter_outbox(node)
        is_paused = self.paused and not self.halt and record.state in ("ready", "running")
        if is_paused or (record.state == "running" and record.holder in living):
            return Answer("held")
        if record.state == "retrying":
            self.timers[node] = self.now if self.is_halted else record.due
            return Answer("retrying")
        if record.ended:
            return Answer("redrive", (record.attempt, record.token))
        if record.state == "running":
            self.remember_attempt(node, "ready", "redriven")
        return self.make_ready("redrive", node, record)

    def remember_attempt(self, node: int, state: str, cause: str) -> None:
        """What the record of a node does not tell any more; to be called before it changes."""
        record = self.nodes[node]
        self.remembered.append(("node", self.now, node, state, cause, record.attempt, record.holder))

    def compensate(self, parent: str = "") -> Answer:
        if self.status == "compensating":
            self.parent = parent or self.parent
            if parent:
                self.go_with_parent()
            return Answer("compensating")
        can_begin = self.status in ("failed", "cancelled", "compensation_failed")
        can_begin = can_begin or bool(parent and self.status == "succeeded")
        if not can_begin or (parent and self.parent == parent):
            return Answer("ended", text=self.status)
        if not self.undos:
            return Answer("nothing")
        self.undos, self.parent, self.lives = "some", parent or self.parent, self.lives + 1
        self.remembered.append(("reopen", self.now, "compensating"))
        if parent:
            self.go_with_parent()
        self.begin_undos()
        return Answer("compensating")

    def begin_undos(self) -> None:
        self.compensation, self.paused, self.reopened = self.walk + 1, "", False
        self.nodes[BEFORE_UNDOS] = NodeModel("succeeded", walk=self.walk)

    def make_ready(self, word: str, node: int, record: NodeModel) -> Answer:
        self.enter_outbox(node)
        record = self.nodes[node] = record._replace(state="ready", token=record.token + 1, holder="", due=0.0, cause="")
        return Answer(word, (record.attempt, record.token))
