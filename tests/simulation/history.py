"""What the store has done, in its order, and what it must never have done: told from commands and replies alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from taskmesh.dispatch.plan import BEFORE_FIRST, Plan
from taskmesh.dispatch.reopening import descendants
from taskmesh.store.calls import NodeKey
from taskmesh.store.family import run_of_ticket
from taskmesh.store.link import Command, Reply
from tests.simulation.rules import may_begin

Values: TypeAlias = list[Any]


BUSY = ("ready", "running", "retrying")
OPEN = ("running", "compensating")


class BrokenPromiseError(AssertionError):
    """Something has happened that must never happen."""


def require(condition: bool, sentence: str) -> None:
    if not condition:
        raise BrokenPromiseError(sentence)


@dataclass(slots=True)
class NodeHistory:
    """One node, as the answers to all calls so far say it is."""

    state: str = "waiting"
    token: int = 0
    holder: str = ""
    ended_as: str = ""
    claimed_at: float = 0.0
    made_ready_by: int = BEFORE_FIRST
    relieved_of: int = 0
    """Up to this token, no message is needed any more: a timer, or the keeper, brings the node on."""
    grants: dict[int, tuple[str, int]] = field(default_factory=dict)
    """For each token that a claim gave: the holder, and the number of its attempt."""
    taken_back: int = 0
    """How many of those were no attempts: a breaker refused them, or nothing had begun."""
    waits_for: str = ""
    """The ticket of the child run for whose end it waits."""


class History:
    """Follows every node, and stops at the first broken promise."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.plans: dict[str, Plan] = {}
        self.accepted: set[str] = set()
        self.halted: set[str] = set()
        self.terminated: set[str] = set()
        self.to_be_undone: set[str] = set()
        """Runs that somebody has cancelled so that what they did is undone."""
        self.probes: dict[str, tuple[str, float]] = {}
        """Who may try each breaker, and until when."""
        self.signals: dict[NodeKey, bytes] = {}
        """What the first signal of each node said that the store has taken."""
        self.ended: set[str] = set()
        self.nodes: defaultdict[NodeKey, NodeHistory] = defaultdict(NodeHistory)
        self.leases: dict[tuple[str, str], float] = {}
        self.commits = 0
        self.stale = 0
        self._readers = {
            "admit_run": self._admitted,
            "claim_node": self._claimed,
            "settle_node": self._settled,
            "retry_node": self._retried,
            "wake_node": self._woken,
            "signal_node": self._signalled,
            "tell_parent": self._told,
            "compensate_run": self._compensated,
            "spread_node": self._spread,
            "release_node": self._released,
            "redrive_node": self._redriven,
            "renew_holder": self._renewed,
            "halt_run": self._halted,
            "terminate_run": self._terminated,
            "consult_breaker": self._consulted,
        }

    def on_command(self, actor: str, command: Command, reply: Reply) -> None:
        name, *arguments = command.arguments
        if command.script is not None:
            if isinstance(reply, list):
                first = 2 + int(arguments[1])
                reader = self._readers.get(command.script.name, _ignore)
                reader(arguments[2:first], arguments[first:], _texts(reply))
        elif name == "ZREM" and str(arguments[0]).endswith(":holders"):
            self.leases.pop((command.key, str(arguments[1])), None)

    def is_alive(self, holders: str, holder: str) -> bool:
        """Whether the lease of a holder is in force in the partition whose key of holders is given."""
        return self.leases.get((holders, holder), 0.0) > self.now()

    def _admitted(self, keys: Values, arguments: Values, reply: Values) -> None:
        run_id, word = arguments[1], reply[0]
        if word == "admitted":
            require(run_id not in self.accepted, f"run {run_id} was admitted twice")
            self.accepted.add(run_id)
        if word in ("admitted", "same"):
            self._note_ready(run_id, BEFORE_FIRST, reply[1:])

    def _claimed(self, keys: Values, arguments: Values, reply: Values) -> None:
        if reply[0] == "paused":
            node = self.nodes[NodeKey(_run_of(keys), int(arguments[1]))]
            node.relieved_of = node.token
        if reply[0] != "claimed":
            return
        key, holder = NodeKey(_run_of(keys), int(arguments[1])), arguments[3]
        node, attempt, token = self.nodes[key], reply[1], reply[2]
        if (node.state, node.holder, node.token) == ("running", holder, token):
            return
        require(not node.ended_as, f"{key.member} was claimed by {holder} after it had ended as {node.ended_as}")
        require(token > node.token, f"{key.member}: token {token} was given after {node.token}")
        if node.state == "running":
            self._require_abandoned(keys[1], key, node)
        self._require_order(key)
        node.state, node.holder, node.token = "running", holder, token
        node.grants[token] = (holder, attempt)
        node.claimed_at = self.now()

    def _require_abandoned(self, holders: str, key: NodeKey, node: NodeHistory) -> None:
        require(not self.is_alive(holders, node.holder), f"{key.member} was taken from {node.holder}, who is alive")

    def _settled(self, keys: Values, arguments: Values, reply: Values) -> None:
        key, token, state = NodeKey(arguments[1], int(arguments[2])), int(arguments[3]), arguments[4]
        node, word = self.nodes[key], reply[0]
        if word == "stale":
            self.stale += 1
        if word == "settled":
            self._require_right_to_settle(key, node, token, arguments[14])
            node.state, node.ended_as = state, state
            # A node that its gates did not let run has had no attempt.
            node.taken_back += state == "skipped"
            self.commits += 1
        if word in ("settled", "again"):
            self._note_told(key, reply)

    def _require_right_to_settle(self, key: NodeKey, node: NodeHistory, token: int, holder: str) -> None:
        require(not node.ended_as, f"{key.member} ended twice, first as {node.ended_as}")
        require(key.run_id not in self.terminated, f"{key.member} ended after its run was terminated")
        require(node.state == "running", f"{key.member} was settled though it was {node.state}")
        require(token == node.token, f"{key.member} was settled with token {token}, its token is {node.token}")
        require(holder == node.holder, f"{key.member} was settled by {holder}, it was given to {node.holder}")

    def _retried(self, keys: Values, arguments: Values, reply: Values) -> None:
        if reply[0] not in ("retrying", "told"):
            return
        key, token = NodeKey(arguments[1], int(arguments[2])), int(arguments[3])
        node = self.nodes[key]
        self._require_right_to_settle(key, node, token, arguments[8])
        node.state, node.holder, node.relieved_of = "retrying", "", token
        node.waits_for = arguments[10]
        node.taken_back += str(arguments[6]) == "0"

    def _woken(self, keys: Values, arguments: Values, reply: Values) -> None:
        if reply[0] != "woken":
            return
        key = NodeKey(arguments[1], int(arguments[2]))
        node = self.nodes[key]
        require(node.state == "retrying", f"{key.member} was woken though it was {node.state}")
        require(reply[2] > node.token, f"{key.member}: token {reply[2]} was given after {node.token}")
        node.state, node.token = "ready", reply[2]

    def _told(self, keys: Values, arguments: Values, reply: Values) -> None:
        """A parent hears of the end of a child; who told it may die before it publishes the node."""
        if reply[0] != "woken":
            return
        key, ticket = NodeKey(arguments[1], int(arguments[2])), arguments[3]
        node, child = self.nodes[key], run_of_ticket(ticket)
        require(node.state == "retrying", f"{key.member} was told of {child} though it was {node.state}")
        require(node.waits_for == ticket, f"{key.member} was told of {child}, and waits for {node.waits_for}")
        require(child in self.ended, f"{key.member} was told that {child} has ended, and it has not")
        require(reply[2] > node.token, f"{key.member}: token {reply[2]} was given after {node.token}")
        node.state, node.token, node.waits_for = "ready", reply[2], ""
        node.relieved_of = node.token - 1

    def _compensated(self, keys: Values, arguments: Values, reply: Values) -> None:
        if reply[0] == "compensating":
            self.to_be_undone.add(arguments[1])
            self.ended.discard(arguments[1])

    def _signalled(self, keys: Values, arguments: Values, reply: Values) -> None:
        """The sender may die before it publishes the node, which is the keeper's then."""
        if reply[0] != "signalled":
            return
        key = NodeKey(arguments[1], int(arguments[2]))
        node = self.nodes[key]
        require(key not in self.signals, f"{key.member} has had two signals")
        require(not node.ended_as, f"{key.member} has had a signal after it had ended as {node.ended_as}")
        self.signals[key] = arguments[5]
        if not reply[2]:
            return
        require(node.state in ("retrying", "running"), f"{key.member} was signalled though it was {node.state}")
        require(reply[2] > node.token, f"{key.member}: token {reply[2]} was given after {node.token}")
        node.taken_back += node.state == "running"
        node.state, node.holder, node.token = "ready", "", reply[2]
        node.relieved_of = node.token - 1

    def _spread(self, keys: Values, arguments: Values, reply: Values) -> None:
        if reply[0] in ("spread", "again"):
            self._note_told(NodeKey(arguments[1], int(arguments[2])), reply)

    def _released(self, keys: Values, arguments: Values, reply: Values) -> None:
        if reply[0] != "released":
            return
        key, token = NodeKey(arguments[1], int(arguments[2])), int(arguments[3])
        node = self.nodes[key]
        if (node.state, node.token) == ("ready", token + 1):
            return
        said, known = ("running", token, arguments[5]), (node.state, node.token, node.holder)
        require(said == known, f"{key.member} was released with {token} by {arguments[5]}, it is {node}")
        node.state, node.holder, node.token = "ready", "", reply[2]
        node.taken_back += str(arguments[4]) == "0"

    def _redriven(self, keys: Values, arguments: Values, reply: Values) -> None:
        if reply[0] != "redrive":
            return
        key = NodeKey(arguments[1], int(arguments[2]))
        node = self.nodes[key]
        if node.ended_as or key.node == BEFORE_FIRST or node.state == "waiting":
            return
        if node.state == "running":
            self._require_abandoned(keys[2], key, node)
        require(reply[2] > node.token, f"{key.member}: token {reply[2]} was given after {node.token}")
        node.state, node.holder, node.token = "ready", "", reply[2]
        node.relieved_of = node.token - 1

    def _renewed(self, keys: Values, arguments: Values, reply: Values) -> None:
        self.leases[keys[0], arguments[1]] = self.now() + float(arguments[2])

    def _halted(self, keys: Values, arguments: Values, reply: Values) -> None:
        if reply[0] == "halted":
            self.halted.add(_run_of(keys))
            if arguments[5] == "1":
                self.to_be_undone.add(_run_of(keys))

    def _terminated(self, keys: Values, arguments: Values, reply: Values) -> None:
        if reply[0] == "terminated":
            self.terminated.add(arguments[1])
            self.ended.add(arguments[1])

    def _consulted(self, keys: Values, arguments: Values, reply: Values) -> None:
        breaker, probe, lease_seconds, verdict = keys[0], arguments[3], float(arguments[4]), arguments[5]
        other, until = self.probes.get(breaker, ("", 0.0))
        if verdict and probe == other:
            del self.probes[breaker]
        elif reply[2]:
            require(other in ("", probe) or until <= self.now(), f"{probe} may try {breaker} while {other} does")
            self.probes[breaker] = (probe, self.now() + lease_seconds)

    def _note_told(self, key: NodeKey, reply: Values) -> None:
        count = reply[2]
        if reply[1] not in OPEN:
            self.ended.add(key.run_id)
        self._note_ready(key.run_id, key.node, reply[3 : 3 + count])
        for number in reply[3 + count :]:
            self._skip(NodeKey(key.run_id, number))

    def _note_ready(self, run_id: str, teller: int, numbers: Values) -> None:
        for number in numbers:
            node = self.nodes[NodeKey(run_id, number)]
            if node.state == "waiting":
                node.state, node.token, node.made_ready_by = "ready", 1, teller
        self._require_bound(run_id)

    def _require_bound(self, run_id: str) -> None:
        """Of copies of which only so many may run at once, no more have begun and not ended."""
        copies = self.plans[run_id].flow.copies
        if copies and copies.most_at_once:
            busy = [at for at in range(copies.total) if self.nodes[NodeKey(run_id, at)].state in BUSY]
            require(len(busy) <= copies.most_at_once, f"{run_id}: {busy} run at once, and not {copies.most_at_once}")

    def _skip(self, key: NodeKey) -> None:
        node = self.nodes[key]
        require(node.state in ("waiting", "skipped"), f"{key.member} was left out though it was {node.state}")
        # Or upstream_failed; the answer does not say which.
        node.state = node.ended_as = "skipped"

    def _require_order(self, key: NodeKey) -> None:
        plan = self.plans[key.run_id]
        if plan.is_undo(key.node):
            self._require_order_of_undo(key, plan)
            return
        if key.node != BEFORE_FIRST:
            node, parents = plan.node(key.node), plan.graph.parents[key.node]
            if node.is_flow_hook:
                self._require_all_else_ended(key, plan)
                return
            ends = [self.nodes[NodeKey(key.run_id, parent)].ended_as for parent in parents]
            require(may_begin(node, ends), f"{key.member} was claimed after {ends}, and asks for {node.trigger}")

    def _require_all_else_ended(self, key: NodeKey, plan: Plan) -> None:
        others = [at for at, node in enumerate(plan.flow.nodes) if not node.is_flow_hook]
        # No answer tells of one that is left out and has no dependents.
        busy = [at for at in others if self.nodes[NodeKey(key.run_id, at)].state in BUSY]
        require(not busy, f"{key.member} is a hook of the flow, and began before nodes {busy} had ended")

    def _require_order_of_undo(self, key: NodeKey, plan: Plan) -> None:
        """Only what was committed is undone, after all that came later, and after the run itself."""
        count = len(plan.flow.nodes)
        states = [self.nodes[NodeKey(key.run_id, at)] for at in range(2 * count)]
        undone = key.node - count
        require(states[undone].ended_as == "succeeded", f"{key.member} undoes what is {states[undone].state}")
        busy = [at for at in range(count) if states[at].state in BUSY]
        require(not busy, f"{key.member} began before nodes {busy} had ended")
        for later in descendants(plan, [undone]) - {undone}:
            is_committed = states[later].ended_as == "succeeded" and plan.flow.nodes[later].compensation
            is_undone = states[count + later].ended_as == "succeeded"
            require(
                not is_committed or is_undone, f"{key.member} began before node {later}, which came later, was undone"
            )


def _ignore(*_: object) -> None: ...


def _run_of(keys: Values) -> str:
    return str(keys[0]).rpartition(":run:")[2]


def _texts(reply: Values) -> Values:
    return [each.decode(errors="replace") if isinstance(each, bytes) else each for each in reply]
