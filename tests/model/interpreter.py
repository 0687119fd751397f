"""What becomes of a flow whose nodes end as given: told from the words of the rules, not from their thresholds.

It knows nothing of scripts, messages or attempts. What is certain of a node is found by trying every way in which the
nodes that have not ended may yet end; expressions are read by CEL, which has the same signs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

from taskmesh.expressions.cel import Expression
from taskmesh.model.flow import Flow, Node
from taskmesh.model.hooks import Hook
from taskmesh.model.states import NodeState
from taskmesh.model.steps import Step
from taskmesh.model.triggers import Rule
from taskmesh.model.waiting import Approve, Sleep, Wait

SUCCEEDED, FAILED, SKIPPED = ENDS = ("succeeded", "failed", "skipped")
OPEN = "open"
GROUPS = {
    NodeState.SUCCEEDED: SUCCEEDED,
    NodeState.FAILED: FAILED,
    NodeState.UPSTREAM_FAILED: FAILED,
    NodeState.SKIPPED: SKIPPED,
    NodeState.CANCELLED: SKIPPED,
}

WORDS: Mapping[Rule, Callable[[Sequence[str]], bool]] = {
    Rule.ALL_SUCCESS: lambda ends: all(end == SUCCEEDED for end in ends),
    Rule.ALL_DONE: lambda ends: True,
    Rule.ALL_FAILED: lambda ends: all(end == FAILED for end in ends),
    Rule.ALL_SKIPPED: lambda ends: all(end == SKIPPED for end in ends),
    Rule.ANY_SUCCESS: lambda ends: SUCCEEDED in ends,
    Rule.ANY_FAILED: lambda ends: FAILED in ends,
    Rule.ANY_DONE: lambda ends: SUCCEEDED in ends or FAILED in ends,
    Rule.NONE_FAILED: lambda ends: FAILED not in ends,
    Rule.NONE_SKIPPED: lambda ends: SKIPPED not in ends,
    Rule.NONE_FAILED_MIN_ONE_SUCCESS: lambda ends: FAILED not in ends and SUCCEEDED in ends,
    Rule.ALWAYS: lambda ends: True,
}
"""Whether a node runs when those that it needs have all ended so."""

HEARD_BY: Mapping[Hook, set[str]] = {
    Hook.ON_SUCCESS: {"succeeded"},
    Hook.ON_FAILURE: {"failed"},
    Hook.FINALLY: {"succeeded", "failed", "cancelled"},
}
"""The ends after which a hook runs; one that could not run for a failure is not among them."""

WAITING_FOR_ALL = {Rule.ALL_DONE, Rule.ALWAYS, Rule.NONE_FAILED, Rule.NONE_SKIPPED, Rule.NONE_FAILED_MIN_ONE_SUCCESS}
ASKING_SUCCESS = {Rule.ALL_SUCCESS, Rule.ANY_SUCCESS, Rule.N_OF, Rule.NONE_FAILED, Rule.NONE_FAILED_MIN_ONE_SUCCESS}


@lru_cache
def _compiled(text: str) -> Expression:
    return Expression(text)


def runs(node: Node, ends: Sequence[str]) -> bool:
    """Whether a node runs when those that it needs have ended so, in their order."""
    trigger = node.trigger
    if trigger.depends:
        named = zip(node.needs, ends, strict=True)
        words = {name: {**{word: word == end for word in ENDS}, "done": end != OPEN} for name, end in named}
        return _compiled(trigger.depends).evaluate(words) is True
    return ends.count(SUCCEEDED) >= trigger.count if trigger.rule is Rule.N_OF else WORDS[trigger.rule](ends)


def certainty(node: Node, ends: Sequence[str | None]) -> bool | None:
    """Whether a node runs, whatever those become that have not ended; None while that depends on them."""
    # An expression may ask whether a node has ended at all.
    others = (*ENDS, OPEN) if node.trigger.depends else ENDS
    ways = product(*(others if end is None else (end,) for end in ends))
    found = {runs(node, way) for way in ways}
    if len(found) > 1 or (found == {True} and node.trigger.rule in WAITING_FOR_ALL and None in ends):
        return None
    return found.pop()


def can_take_failure(node: Node, needed: str) -> bool:
    """Whether there are ends, that one a failure, after which a node runs; a hook only observes."""
    if node.hook:
        return False
    return any(runs(node, way) for way in product(*((FAILED,) if name == needed else ENDS for name in node.needs)))


def is_blamed(node: Node, ends: Sequence[str | None]) -> bool:
    """Whether a failure is why a node does not run."""
    if node.trigger.depends:
        return any(
            end == FAILED and f"{name}.succeeded" in node.trigger.depends
            for name, end in zip(node.needs, ends, strict=True)
        )
    return FAILED in ends and node.trigger.rule in ASKING_SUCCESS


class Sent(NamedTuple):
    """The first thing that was sent to a node that waits: by whom, when, and what it says."""

    by: str
    at: float
    payload: Any


def end_of_wait(step: Step | None, sent: Sent | None, waited_seconds: float) -> tuple[NodeState, Any] | None:
    """How a node ends that waits, with its output or the type of its error; None while it goes on.

    ``waited_seconds`` are those of a sleep that is as long as its step says, or of who waits for something.
    """
    if isinstance(step, Sleep):
        return (NodeState.SUCCEEDED, None) if waited_seconds >= (step.seconds or 0.0) else None
    assert isinstance(step, Wait | Approve)
    if sent is not None:
        return _heard(step, sent)
    if step.timeout_seconds is None or waited_seconds < step.timeout_seconds:
        return None
    default = step.default if isinstance(step, Wait) else None
    return (NodeState.FAILED, "SignalTimeout") if default is None else (NodeState.SUCCEEDED, default.value)


def _heard(step: Wait | Approve, sent: Sent) -> tuple[NodeState, Any]:
    if isinstance(step, Wait):
        return NodeState.SUCCEEDED, sent.payload
    approved, comment = sent.payload
    if not approved:
        return NodeState.FAILED, "Rejected"
    return NodeState.SUCCEEDED, {"approved": True, "by": sent.by, "at": sent.at, "comment": comment}


class Interpreter:
    """One life of a flow. ``halt`` says why nothing new begins; what is ready then is to end as cancelled."""

    halt: NodeState | None = None

    def __init__(self, flow: Flow) -> None:
        self.states: dict[str, NodeState] = {}
        self.ready = [node.name for node in flow.nodes if not node.needs and not node.hook]
        self._flow = flow
        self._begun = set(self.ready)
        self._told: set[tuple[str, str]] = set()

    def end(self, name: str, state: NodeState) -> None:
        """One that is ready ends, and what follows from it."""
        self.ready.remove(name)
        self.states[name] = state
        ended = deque([name])
        while ended:
            teller, known = ended.popleft(), dict(self.states)
            for node in self._flow.nodes:
                if teller in node.needs:
                    self._told.add((teller, node.name))
                    left_out = self._hears(node, known[teller]) if node.hook else self._is_left_out(node, known)
                    ended += [node.name] if left_out else []
        self._tell_hooks_of_flow()

    def _tell_hooks_of_flow(self) -> None:
        hooks = [node for node in self._flow.nodes if node.hook and not node.needs]
        if len(self.states) < len(self._flow.nodes) - len(hooks) or self._begun & {node.name for node in hooks}:
            return
        for node in hooks:
            self._hears(node, self.cause)

    def _hears(self, hook: Node, end: NodeState) -> bool:
        """Decides a hook by what it observes; whether it has ended without running."""
        runs = hook.hook is not None and end in HEARD_BY[hook.hook]
        self._begun.add(hook.name)
        if runs:
            self.ready.append(hook.name)
        else:
            self.states[hook.name] = NodeState.SKIPPED
        return not runs

    @property
    def cause(self) -> NodeState:
        """How the run ends, whatever is undone then."""
        return self.halt or (NodeState.FAILED if self.has_failed else NodeState.SUCCEEDED)

    @property
    def has_failed(self) -> bool:
        """Whether there is a failure, or one that could not run for one, that no dependent can take."""
        hooks = {node.name for node in self._flow.nodes if node.hook}
        lost = [name for name, state in self.states.items() if GROUPS[state] == FAILED and name not in hooks]
        return any(not self.is_handled(name) for name in lost)

    def is_handled(self, name: str) -> bool:
        """Whether some node that needs this one can still begin after it has failed."""
        return any(can_take_failure(node, name) for node in self._flow.nodes if name in node.needs)

    def _is_left_out(self, node: Node, known: Mapping[str, NodeState]) -> bool:
        """Decides a node, if it is certain by now; whether it has ended without running.

        A rule goes by those that have told the node of their ends, an expression by all ends that are ``known``.
        """
        if node.name in self._begun or node.name in self.states:
            return False
        heard = {name for name in known if node.trigger.depends or (name, node.name) in self._told}
        ends = [GROUPS[known[name]] if name in heard else None for name in node.needs]
        goes = certainty(node, ends)
        if goes:
            self._begun.add(node.name)
            self.ready.append(node.name)
        if goes is False:
            blamed = is_blamed(node, ends)
            self.states[node.name] = NodeState.UPSTREAM_FAILED if blamed else NodeState.SKIPPED
        return goes is False
