"""How a whole run must end, by what its flow says: states, causes, outputs, attempts and result, with all child runs.

What is taken from the run itself is only when its nodes began and ended, so in which order; the rest is worked out
from the flow, its parameters, and what was sent to it. It goes by ``interpreter`` for what a node waits for.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from taskmesh.expressions.cel import Expression
from taskmesh.model.flow import Flow, Node
from taskmesh.model.loops import Loop
from taskmesh.model.mapping import ItemFailure, Map
from taskmesh.model.states import NodeState
from taskmesh.model.subflows import ChildStep
from taskmesh.model.waiting import Approve, Sleep, Wait
from tests.model.interpreter import Interpreter, Sent, end_of_wait

SUCCEEDED, FAILED, SKIPPED = NodeState.SUCCEEDED, NodeState.FAILED, NodeState.SKIPPED
SOON_SECONDS = 0.5
"""All that is due in the same second takes no longer, on virtual time."""

REFERENCE = re.compile(r"\$\{([^}]*)\}")

Work = Callable[[Mapping[str, Any], int], Any]
"""What a task gives for its arguments at an attempt, the first being 1; it raises an ``ArithmeticError`` to fail."""


class DisagreementError(AssertionError):
    """What a run did is not what its flow says."""


class Moment(NamedTuple):
    """A node was made ready, began, or ended. ``at`` in seconds."""

    node: str
    state: NodeState
    at: float


@dataclass(frozen=True)
class Played:
    """What is taken from a run: its moments in their order, and the child runs of each node in their order."""

    moments: Sequence[Moment]
    children: Mapping[str, Sequence[Played]]
    sent: Mapping[str, Sent] = field(default_factory=dict)


class End(NamedTuple):
    """How a node, or a run, has ended."""

    state: NodeState
    output: Any = None
    cause: str = ""
    attempts: int = 1


class Life:
    """One run. ``ends`` is how its nodes have ended; those that never began have no attempts."""

    def __init__(self, flow: Flow, params: Mapping[str, Any], played: Played, work: Work) -> None:
        self.ends: dict[str, End] = {}
        self._flow = flow
        self._nodes = {node.name: node for node in flow.nodes}
        self._params = params
        self._work = work
        self._children = {name: deque(runs) for name, runs in played.children.items()}
        self._sent = played.sent
        self._told = Interpreter(flow)
        self._seen: dict[str, Mapping[str, End]] = {}
        self._let_in: dict[str, list[Mapping[str, End]]] = {name: [{}] for name in self._told.ready}
        self._ready_at: dict[str, float] = {}
        self._live(played.moments)

    @property
    def end(self) -> End:
        """That of the run."""
        if self._told.has_failed:
            return End(FAILED)
        return End(SUCCEEDED, self._result())

    def _live(self, moments: Sequence[Moment]) -> None:
        for moment in moments:
            self._pass(*moment)
        if self._told.ready:
            raise DisagreementError(f"{', '.join(self._told.ready)} should have run")
        if left := [name for name, runs in self._children.items() if runs]:
            raise DisagreementError(f"{', '.join(left)} began more child runs than they should")

    def _pass(self, name: str, state: NodeState, at: float) -> None:
        if state is NodeState.READY:
            self._ready_at.setdefault(name, at)
        elif state is NodeState.RUNNING:
            self._begin(name)
        elif state.ended and name in self._told.ready:
            self._finish(name, at)

    def _begin(self, name: str) -> None:
        if name not in self._told.ready:
            raise DisagreementError(f"{name} began, and should not have")
        if name not in self._seen:
            self._let_in[name] = [dict(self.ends)]
        self._seen[name] = dict(self.ends)

    def _finish(self, name: str, at: float) -> None:
        if name not in self._seen:
            self._let_in[name].append(dict(self.ends))
        self.ends[name] = self._ending(self._nodes[name], at)
        self._told.end(name, self.ends[name].state)
        for each, end in self._told.states.items():
            self.ends.setdefault(each, End(end, attempts=0))
        for each in self._told.ready:
            self._let_in.setdefault(each, [dict(self.ends)])

    # How one node ends.

    def _ending(self, node: Node, at: float) -> End:
        switch = next((each for each in self._flow.nodes if each.switch and node.name in each.switch.targets), None)
        if switch and switch.switch and node.name not in switch.switch.taken(self.ends[switch.name].output):
            return End(SKIPPED, cause="branch", attempts=0)
        if node.when and not self._holds(node, node.when):
            return End(SKIPPED, cause="when", attempts=0)
        if node.switch:
            cases = (case.name for case in node.switch.cases if not case.when or self._holds(node, case.when))
            taken = next(cases, None)
            return End(FAILED) if taken is None else End(SUCCEEDED, taken)
        if node.name not in self._seen:
            raise DisagreementError(f"{node.name} ended, and should have begun before")
        if isinstance(node.step, Sleep | Wait | Approve):
            return self._waited(node, at)
        if isinstance(node.step, ChildStep):
            return self._of_children(node)
        return self._tried(node, self._resolved(node, node.args))

    def _holds(self, node: Node, condition: str) -> bool:
        """Whether a condition held when the node began; where it did not begin, whether it held all the time."""
        return all(self._holds_at(node, condition, seen) for seen in self._let_in[node.name])

    def _holds_at(self, node: Node, condition: str, seen: Mapping[str, End]) -> bool:
        nodes = {
            name: {"state": str(seen[name].state) if name in seen else "open", "output": _output(seen, name)}
            for name in node.needs
        }
        return Expression(condition).evaluate({"nodes": nodes, "params": self._params}) is True

    def _waited(self, node: Node, at: float) -> End:
        ready_at, sent = self._ready_at[node.name], self._sent.get(node.name)
        step = node.step
        seconds = step.seconds if isinstance(step, Sleep) else getattr(step, "timeout_seconds", None)
        due = ready_at + (seconds or 0.0)
        if sent and sent.at <= due:
            due = max(ready_at, sent.at)
        else:
            sent = None
        found = end_of_wait(step, sent, at - ready_at)
        if found is None or at > due + SOON_SECONDS:
            raise DisagreementError(f"{node.name} ended after {at - ready_at:g} s instead of {due - ready_at:g} s")
        state, told = found
        return End(state, told if state is SUCCEEDED else None)

    def _tried(self, node: Node, args: Mapping[str, Any]) -> End:
        most = node.retry.max_attempts if node.retry else 1
        for attempt in range(1, most + 1):
            try:
                return End(SUCCEEDED, self._work(args, attempt), attempts=attempt)
            except ArithmeticError:
                continue
        return End(FAILED, attempts=most)

    # Child runs.

    def _of_children(self, node: Node) -> End:
        step, args = node.step, self._resolved(node, node.args)
        if isinstance(step, Map):
            return self._mapped(step, args)
        most = node.retry.max_attempts if node.retry else 1
        end, is_final, attempts = End(FAILED), False, 0
        while attempts < most and end.state is FAILED and not is_final:
            attempts += 1
            end, is_final = self._looped(node, step, args) if isinstance(step, Loop) else self._child(node, args)
        return end._replace(attempts=attempts)

    def _child(self, node: Node, params: Mapping[str, Any]) -> tuple[End, bool]:
        runs = self._children.get(node.name)
        if not runs:
            raise DisagreementError(f"{node.name} should have begun a child run")
        assert isinstance(node.step, ChildStep)
        assert node.step.inline is not None
        return Life(node.step.inline, params, runs.popleft(), self._work).end, False

    def _looped(self, node: Node, step: Loop, args: Mapping[str, Any]) -> tuple[End, bool]:
        last = None
        for iteration in range(1, step.max_iterations + 1):
            given = {step.last_as: last, step.count_as: iteration}
            end, _ = self._child(node, {**args, **{name: value for name, value in given.items() if name}})
            if end.state is FAILED:
                return end, False
            if Expression(step.condition).evaluate({"output": end.output, "iteration": iteration}) is True:
                return end, True
            last = end.output
        return End(FAILED), True

    def _mapped(self, step: Map, args: Mapping[str, Any]) -> End:
        """Its items need no others, so how each ends does not hang on their order; one that fails fails the node."""
        self._children.pop(step.body.name, None)
        names = {f"{key}": value for key, value in args.get("given", {}).items()}
        ends = [
            self._tried(step.body, _filled(step.body.args, {**names, "item": item, "index": at}.__getitem__))
            for at, item in enumerate(args["over"])
        ]
        succeeded = sum(end.state is SUCCEEDED for end in ends)
        part = 1.0 if step.on_item_failure is ItemFailure.FAIL else step.min_success
        if succeeded < (part if isinstance(part, int) else part * len(ends)):
            return End(FAILED)
        return End(SUCCEEDED, [end.output if end.state is SUCCEEDED else LOST_ITEM for end in ends])

    # Values.

    def _resolved(self, node: Node, args: Any) -> Any:
        return _filled(args, lambda reference: self._value(node, reference))

    def _value(self, node: Node, reference: str) -> Any:
        match reference.split("."):
            case ["params"]:
                return dict(self._params)
            case ["params", name]:
                return self._params[name]
            case ["ended", "status"]:
                return str(self._told.states[node.needs[0]]) if node.needs else str(self.end.state)
            case ["nodes", name, "output"]:
                return _output(self._seen[node.name], name)
        raise LookupError(reference)

    def _result(self) -> Any:
        needed = {name for node in self._flow.nodes if not node.hook for name in node.needs}
        last = [node.name for node in self._flow.nodes if not node.hook and node.name not in needed]
        outputs = {name: _output(self.ends, name) for name in last}
        return outputs[last[0]] if len(last) == 1 else outputs


LOST_ITEM = {"failed": {"type": "ZeroDivisionError", "message": "as it should"}}
"""What stands in the list of a map for an item that has failed."""


def _output(ends: Mapping[str, End], name: str) -> Any:
    end = ends.get(name)
    return end.output if end and end.state is SUCCEEDED else None


def _filled(value: Any, lookup: Callable[[str], Any]) -> Any:
    """Values with what their references stand for; each is a text of its own here."""
    if isinstance(value, str):
        found = REFERENCE.fullmatch(value)
        return lookup(found[1]) if found else value
    if isinstance(value, Mapping):
        return {key: _filled(each, lookup) for key, each in value.items()}
    return [_filled(each, lookup) for each in value] if isinstance(value, list | tuple) else value
