"""What people do to a run as a whole, as part of the reference model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from taskmesh.dispatch.reopening import CONTINUED
from taskmesh.model.fates import decide
from taskmesh.model.states import NodeState
from taskmesh.store.preparations import Reset
from tests.model import copies
from tests.model.answers import RUN_DEADLINE, RUN_HALTED, Answer
from tests.model.parts import Parts
from tests.model.records import NodeModel
from tests.model.shape import BEFORE_HOOKS

BY_HAND = "by somebody: why"
SENDER = "somebody"
"""Who sends signals."""

INHERITED = "inherited"
FORK = "fork of another"
"""What a fork is paused for."""


class Steering(Parts):
    """``paused`` is the kind of the pause. ``left`` are the nodes that a terminated run still has in the outbox.

    What was ``forgotten`` of them is not in the outbox either when the run is reopened, before somebody looks after it;
    those that were retrying are ``unlisted`` then until they are retried again.
    """

    halt: str
    failed_node: int | None
    deadline: float | None
    compensation: int | None
    kept_end: tuple[str, int | None, bytes] | None
    counts: dict[int, int]
    missed: dict[tuple[str, int], int]
    lives: int

    paused = ""
    left: set[int] | None = None
    forgotten: frozenset[int] = frozenset()
    unlisted: frozenset[int] = frozenset()
    altered = False
    reopened = False

    @property
    def terminated(self) -> bool:
        return self.left is not None

    @property
    def is_held(self) -> bool:
        """Whether no ready node can be claimed."""
        return self.terminated or bool(self.paused and not self.halt)

    def pause(self) -> Answer:
        if self.has_ended:
            return Answer("ended", text=self.status)
        if self.halt or self.status == "compensating":
            return Answer("ending")
        if not self.paused:
            self.remembered.append(("pause", self.now, "paused"))
        self.paused = self.paused or "user"
        return Answer("paused") if self.paused == "user" else Answer("preparing", text=self.paused)

    def resume(self, kind: str = "user") -> Answer:
        if self.has_ended:
            return Answer("ended", text=self.status)
        if not self.paused:
            return Answer("running")
        if self.paused != kind:
            return Answer("preparing", text=self.paused)
        self.paused, self.reopened = "", False
        self.remembered.append(("resume", self.now, "running"))
        if not self.remaining:
            self.reach_parent()
            return Answer("ended", text=self.status)
        self.begin_hooks()
        return Answer("resumed")

    def terminate(self) -> Answer:
        if self.terminated:
            return Answer("terminated")
        if self.has_ended:
            return Answer("ended", text=self.status)
        # Its nodes may have child runs, which the keeper ends.
        self.timers[RUN_HALTED] = self.now
        self.unlisted |= self.retrying
        self.left, self.paused = set(self.outbox), ""
        self.remembered.append(("halt", self.now, "terminated"))
        self.reach_parent()
        return Answer("terminated")

    def leave_outbox(self, node: int) -> None:
        """The keeper has met a node of a terminated run."""
        self.forgotten |= (self.left or set()) & {node}
        (self.left or set()).discard(node)

    def enter_outbox(self, node: int) -> None:
        self.forgotten -= {node}

    def mark(self, node: int, state: str) -> Answer:
        record = self.nodes.get(node)
        if not self.has_ended and self.paused not in ("", "user"):
            return Answer("preparing", text=self.paused)
        if record is not None and record.ended:
            same = (record.state, record.cause) == (state, BY_HAND)
            return self.told_before("again", node, 0) if same else Answer("ended", text=self.status)
        if self.status != "running":
            return Answer("ended", text=self.status)
        if (self.shape.bound or node in self.shape.flow_hooks) and self.waits(node):
            return Answer("early")
        self.alter()
        if self.timers.keys() & {node} and record is not None and record.state == "retrying":
            del self.timers[node]
        if record is not None and record.state == "running":
            self.remember_attempt(node, state, "marked")
        self.nodes[node] = self.fresh(node, state)._replace(cause=BY_HAND)
        self.note_outcome(node, state)
        followers = copies.let_next_begin(self, node)
        answer = self.tell_first("marked", node)
        return answer._replace(ready=(*answer.ready, *followers))

    def reopen(self, kind: str) -> Answer:
        if self.status == "running":
            if self.paused == kind:
                return Answer("reopened")
            return Answer("preparing", text=self.paused) if self.paused not in ("", "user") else Answer("running")
        if self.status == "compensating":
            return Answer("running")
        if self.walk or self.status in ("compensated", "compensation_failed"):
            return Answer("ended", text=self.status)
        self.compensation, self.lives = None, self.lives + 1
        self.alter()
        self.remembered.append(("reopen", self.now, "paused"))
        self.left, self.halt, self.failed_node, self.deadline = None, "", None, None
        self.timers.pop(RUN_DEADLINE, None)
        self.paused, self.reopened = kind, True
        return Answer("reopened")

    def reset(self, wishes: Iterable[Reset], kind: str, further: Sequence[str | int] = ()) -> Answer:
        if self.status != "running" or self.paused != kind:
            return Answer("running")
        for wish in wishes:
            record = self.nodes.get(wish.node)
            if (record.state if record else "", record.token if record else 0) == (wish.state, wish.token):
                reset = self._let_hooks_wait if wish.node == BEFORE_HOOKS else self._reset
                reset(wish)
        for name, value in zip(further[::2], further[1::2], strict=True):
            self.has_begun_more |= name == "begun"
            setattr(self, str(name), value)
        return Answer("reset")

    def _let_hooks_wait(self, wish: Reset) -> None:
        del self.nodes[wish.node]
        self.kept_end = None
        self.forgotten -= {wish.node}

    def _reset(self, wish: Reset) -> None:
        record, wanted = self.nodes.get(wish.node), "ready" if wish.wanted == CONTINUED else wish.wanted
        if record is not None:
            self._forget_of(wish.node, record.state)
            self.remember_attempt(wish.node, wanted, "reset")
        if record is not None or wanted != "waiting" or wish.follows >= 0:
            follows = None if wish.follows < 0 else wish.follows
            self.nodes[wish.node] = self.fresh(wish.node, wanted)._replace(let_begin=follows)
        if record is not None and wish.wanted == CONTINUED:
            self.nodes[wish.node] = self.nodes[wish.node]._replace(retries=record.retries)
            self.news.pop(wish.node, None)
        if wish.wanted == "skipped":
            told, cause = len(self.shape.children[wish.node]), record.cause if record else ""
            self.nodes[wish.node] = self.nodes[wish.node]._replace(told=told, cause=cause)
        if wish.arrived >= 0:
            self.counts[wish.node] = wish.arrived
        if wish.skipped >= 0:
            self.missed["skipped", wish.node] = wish.skipped
            self.missed.pop(("failed", wish.node), None)

    def _forget_of(self, node: int, state: str) -> None:
        """What does not hold any more when a node begins anew."""
        self.seen.pop(node, None)
        if state == "retrying":
            self.timers.pop(node, None)
        if state == "succeeded":
            self.checkpoints.pop(node, None)
        if state in ("succeeded", "failed"):
            self.signals.pop(node, None)

    def fork_again(self) -> Answer:
        """The same fork is wished for once more."""
        if self.status == "running" and self.paused == FORK:
            return Answer("preparing", text=FORK)
        return Answer("same")

    def inherit(self, nodes: Iterable[int]) -> Answer:
        if self.status != "running" or self.paused != FORK:
            return Answer("running")
        for node in nodes:
            if node not in self.nodes:
                self.nodes[node] = NodeModel("succeeded", told=len(self.shape.children[node]), cause=INHERITED)
        return Answer("inherited")

    def wanted(self, origin: int | None) -> dict[int, str]:
        """What each node must be that runs again: told from the graph alone, as a check of what the product reckons."""
        found = {}
        below = set() if origin is None else {origin}
        for at in self.places:
            if below & set(self.shape.parents[at]):
                below.add(at)
            if at in self.shape.flow_hooks:
                found[at] = "waiting"
                continue
            if at not in below and self._succeeded_without_running(at):
                continue
            state = self.nodes[at].state if at in self.nodes else "waiting"
            ended = {each for each in self.shape.parents[at] if each in self.nodes and self.nodes[each].ended}
            fate = decide(self.shape.node(at), {f"n{each}": NodeState(self.nodes[each].state) for each in ended})
            has_all = len(ended) == len(self.shape.parents[at])
            # One that is certain not to run stays out, though others before it run again.
            stays_out = fate is NodeState.SKIPPED and state in ("skipped", "succeeded")
            if state not in ("succeeded", "skipped") or at == origin or not (has_all or stays_out):
                found[at] = "ready" if has_all or fate is NodeState.READY else "waiting"
        return found

    def _succeeded_without_running(self, at: int) -> bool:
        node = self.nodes.get(at)
        return node is not None and node.state == "succeeded" and node.cause in (BY_HAND, INHERITED)

    @property
    def places(self) -> range:
        return range(len(self.shape.parents))

    def alter(self) -> None:
        """From now on what a node has counted does not follow from the records any more."""
        if not self.altered:
            self.counts = {at: self.arrived(at) for at in self.places}
            self.missed = {
                (group, at): self.missing(group, at)
                for at in self.places
                for group in ("failed", "skipped")
                if self.shape.counts(at)
            }
            self.altered = True

    def halt_with(self, status: str, compensates: bool = False) -> Answer:
        if self.status != "running":
            return Answer("ended", text=self.status)
        if self.paused not in ("", "user"):
            return Answer("preparing", text=self.paused)
        if compensates and not self.shape.undoable:
            return Answer("nothing")
        if compensates:
            self.intend(compensates)
        elif not self.halt:
            self.compensation = None
        was, self.paused = self.paused, ""
        if not self.halt:
            self.remembered.append(("halt", self.now, status))
            self.halt = status
            self.timers[RUN_HALTED] = self.now
        return Answer("halted", text="paused" if was else "")
