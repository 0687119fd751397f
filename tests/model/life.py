"""How a whole run must end, by what its flow says: states, causes, outputs, attempts and result, with all child runs.

What is taken from the run itself is only when its nodes began and ended, so in which order, and when it was cancelled;
the rest is worked out from the flow, its parameters, and what was sent to it. It goes by ``interpreter`` for what
follows from the end of a node, and for what a node waits for.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any

from taskmesh.expressions.cel import Expression
from taskmesh.model.flow import Flow, Node, OnFailure
from taskmesh.model.loops import Loop
from taskmesh.model.mapping import ItemFailure, Map
from taskmesh.model.states import NodeState
from taskmesh.model.subflows import ChildStep
from taskmesh.model.waiting import Approve, Sleep, Wait
from tests.model.filling import calls_of, filled
from tests.model.interpreter import Interpreter, end_of_wait
from tests.model.played import (
    CANCELLED,
    FAILED,
    LOST_ITEM,
    SKIPPED,
    SUCCEEDED,
    DisagreementError,
    End,
    Known,
    Moment,
    Played,
    tried,
)

SOON_SECONDS = 0.5
"""All that is due in the same second takes no longer, on virtual time."""

LATE_SECONDS = 5.0
"""By then, the children of a run have heard that it goes on no more."""

KILLED_SECONDS = 15.0
"""By then, nothing runs any more of a run that was cancelled: tasks are killed ten seconds after they were told."""


class Life:
    """One run. ``ends`` is how its nodes have ended; those that never began have no attempts.

    ``children`` are the runs of the last attempt of each node that begins some. ``intends`` says whether what was done
    is to be undone should the run not succeed; where it is cancelled, ``cancel_undoes`` says so.
    """

    def __init__(
        self, flow: Flow, params: Mapping[str, Any], played: Played, known: Known, cancel_undoes: bool = False
    ) -> None:
        self.flow, self.played, self.known = flow, played, known
        self.ends: dict[str, End] = {}
        self.children: dict[str, list[Life]] = {}
        self.intends = False
        self._cancel_undoes = cancel_undoes
        self._nodes = {node.name: node for node in flow.nodes}
        self._params = params
        self._runs = {name: deque(runs) for name, runs in played.children.items()}
        self._told = Interpreter(flow)
        self._seen: dict[str, Mapping[str, End]] = {}
        self._let_in: dict[str, list[Mapping[str, End]]] = {name: [{}] for name in self._told.ready}
        self._ready_at: dict[str, float] = {}
        self._begun: Counter[str] = Counter()
        self._in_flight: set[str] = set()
        self._halted_at: float | None = None
        self._live(played.moments)

    @property
    def end(self) -> End:
        """That of the run, whatever is undone then."""
        return End(self._told.cause, self._result() if self._told.cause is SUCCEEDED else None)

    @property
    def is_halted(self) -> bool:
        """Whether nothing new began any more, at some time."""
        return self._halted_at is not None

    def _live(self, moments: Sequence[Moment]) -> None:
        for moment in moments:
            if moment.node in self._nodes or not moment.node:
                self._pass(*moment)
        if self._told.ready:
            raise DisagreementError(f"{', '.join(self._told.ready)} should have run")
        if left := [name for name, runs in self._runs.items() if runs]:
            raise DisagreementError(f"{', '.join(left)} began more child runs than they should")

    def _pass(self, name: str, state: NodeState, at: float) -> None:
        if not name:
            self.intends = self._cancel_undoes
            self._halt(CANCELLED, at)
        elif state is NodeState.RUNNING:
            self._begin(name)
        elif state.ended and name in self._told.ready:
            self._finish(name, state, at)
        else:
            self._in_flight.discard(name)
            if state is NodeState.READY:
                self._ready_at.setdefault(name, at)

    def _halt(self, cause: NodeState, at: float) -> None:
        if self._halted_at is None:
            self._told.halt, self._halted_at = cause, at

    def _begin(self, name: str) -> None:
        if name not in self._told.ready:
            raise DisagreementError(f"{name} began, and should not have")
        if self._is_barred(self._nodes[name]):
            # It is taken up only to be cancelled, or to hear what has become of its child.
            return
        if name not in self._seen:
            self._let_in[name] = [dict(self.ends)]
        self._seen[name] = dict(self.ends)
        self._in_flight.add(name)
        self._begun[name] += 1

    def _is_barred(self, node: Node) -> bool:
        return self._halted_at is not None and not node.trigger.runs_always

    def _finish(self, name: str, state: NodeState, at: float) -> None:
        node = self._nodes[name]
        if name not in self._seen:
            self._let_in[name].append(dict(self.ends))
        self.ends[name] = end = self._cut_off(node, state, at) if self._is_barred(node) else self._ending(node, at)
        self._note_failure(node, end.state, at)
        self._told.end(name, end.state)
        for each, left_out in self._told.states.items():
            self.ends.setdefault(each, End(left_out, attempts=0))
        for each in self._told.ready:
            self._let_in.setdefault(each, [dict(self.ends)])

    def _note_failure(self, node: Node, state: NodeState, at: float) -> None:
        """What the failure of a node means for the run."""
        if state is not FAILED or self.flow.on_failure is OnFailure.CONTINUE:
            return
        if self._halted_at is None and self.flow.on_failure is OnFailure.COMPENSATE:
            self.intends = True
        if not node.hook and not self._told.is_handled(node.name):
            self._halt(FAILED, at)

    # How one node ends.

    def _cut_off(self, node: Node, state: NodeState, at: float) -> End:
        """In a run that goes on no more: what has not begun is cancelled, what has begun may end."""
        assert self._halted_at is not None
        if isinstance(node.step, ChildStep) and node.name in self._seen:
            return self._of_children(node, state)
        is_near = at <= self._halted_at + SOON_SECONDS
        if state is not CANCELLED:
            if node.name not in self._in_flight and not is_near:
                raise DisagreementError(f"{node.name} should have been cancelled with its run")
            if self._told.halt is CANCELLED and at > self._halted_at + KILLED_SECONDS:
                raise DisagreementError(f"{node.name} should have been killed with its run")
            return self._ending(node, at)
        # Who has begun a task ends it, where nobody has cancelled the run; but another attempt does not follow.
        if self._told.halt is FAILED and node.task and node.name in self._in_flight and not is_near:
            natural = self._tried(node, self._resolved(node, node.args))
            if natural.attempts <= self._begun[node.name]:
                raise DisagreementError(f"{node.name} was cancelled while it ran")
        return End(CANCELLED)

    def _ending(self, node: Node, at: float) -> End:
        switch = next((each for each in self.flow.nodes if each.switch and node.name in each.switch.targets), None)
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
            return self._of_children(node, FAILED)
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
        ready_at, sent = self._ready_at[node.name], self.played.sent.get(node.name)
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
        return tried(self.known.work, node.retry, args)

    # Child runs.

    def _of_children(self, node: Node, state: NodeState) -> End:
        """``state`` is what a node may have become whose child has failed, where there is no other after that."""
        step, args = node.step, self._resolved(node, node.args)
        if isinstance(step, Map):
            return self._mapped(node, step, args, state)
        most = node.retry.max_attempts if node.retry else 1
        end, is_final, attempts = End(FAILED), False, 0
        while attempts < most and end.state is FAILED and not is_final:
            if attempts and self._is_barred(node) and not self._runs.get(node.name):
                return end._replace(state=CANCELLED if state is CANCELLED else FAILED, attempts=attempts)
            attempts += 1
            self.children[node.name] = []
            end, is_final = self._looped(node, step, args) if isinstance(step, Loop) else self._child(node, args)
        return end._replace(attempts=attempts)

    def _child(self, node: Node, params: Mapping[str, Any]) -> tuple[End, bool]:
        runs = self._runs.get(node.name)
        if not runs:
            raise DisagreementError(f"{node.name} should have begun a child run")
        assert isinstance(node.step, ChildStep)
        flow, played = node.step.inline or self.known.flows[node.step.reference], runs.popleft()
        child = Life(flow, params, played, self.known, self.intends)
        self._check_close(node, played, child.is_halted)
        if self._outlives(played) and self.intends and child.is_halted:
            # One that had failed by itself, and was not yet over, is undone for its parent's sake.
            child.intends |= played.found.status.startswith("compensat")
        self.children[node.name].append(child)
        return child.end, child.end.state is CANCELLED

    def _outlives(self, played: Played) -> bool:
        """Whether a child went on when its parent did no more."""
        return self._halted_at is not None and played.ended_at > self._halted_at

    def _check_close(self, node: Node, played: Played, is_halted: bool) -> None:
        """A child is cancelled if, and only if, its parent goes on no more, and it had not stopped by itself."""
        if played.is_cancelled and not self._is_barred(node):
            raise DisagreementError(f"the child of {node.name} was cancelled, and should not have been")
        is_late = self._halted_at is not None and played.ended_at > self._halted_at + LATE_SECONDS
        if self._is_barred(node) and is_late and not is_halted:
            raise DisagreementError(f"the child of {node.name} should have been cancelled with its parent")

    def _looped(self, node: Node, step: Loop, args: Mapping[str, Any]) -> tuple[End, bool]:
        last = None
        for iteration in range(1, step.max_iterations + 1):
            if iteration > 1 and self._is_barred(node) and not self._runs[node.name]:
                return End(CANCELLED), True
            given = {step.last_as: last, step.count_as: iteration}
            end, _ = self._child(node, {**args, **{name: value for name, value in given.items() if name}})
            if end.state is not SUCCEEDED:
                return end, end.state is CANCELLED
            if Expression(step.condition).evaluate({"output": end.output, "iteration": iteration}) is True:
                return end, True
            last = end.output
        return End(FAILED), True

    def _mapped(self, node: Node, step: Map, args: Mapping[str, Any], state: NodeState) -> End:
        """Its items need no others, so how each ends does not hang on their order; one that fails fails the node."""
        runs = self._runs.pop(node.name, ())
        for played in runs:
            self._check_close(node, played, played.found.status != "succeeded")
        ends = [self._tried(step.body, each) for each in calls_of(step, args)]
        if state is CANCELLED and any(played.is_cancelled for played in runs):
            return End(CANCELLED)
        succeeded = sum(end.state is SUCCEEDED for end in ends)
        part = 1.0 if step.on_item_failure is ItemFailure.FAIL else step.min_success
        if succeeded < (part if isinstance(part, int) else part * len(ends)):
            return End(FAILED)
        return End(SUCCEEDED, [end.output if end.state is SUCCEEDED else LOST_ITEM for end in ends])

    # Values.

    def _resolved(self, node: Node, args: Any) -> Any:
        return filled(args, lambda reference: self._value(node, reference))

    def arguments(self, name: str) -> Any:
        """What a node was called with that has succeeded."""
        return self._resolved(self._nodes[name], self._nodes[name].args)

    def _value(self, node: Node, reference: str) -> Any:
        match reference.split("."):
            case ["params"]:
                return dict(self._params)
            case ["params", name]:
                return self._params[name]
            case ["ended", "status"]:
                return str(self._told.states[node.needs[0]]) if node.needs else str(self._told.cause)
            case ["nodes", name, "output"]:
                return _output(self._seen[node.name], name)
        raise LookupError(reference)

    def _result(self) -> Any:
        needed = {name for node in self.flow.nodes if not node.hook for name in node.needs}
        last = [node.name for node in self.flow.nodes if not node.hook and node.name not in needed]
        outputs = {name: _output(self.ends, name) for name in last}
        return outputs[last[0]] if len(last) == 1 else outputs


def _output(ends: Mapping[str, End], name: str) -> Any:
    end = ends.get(name)
    return end.output if end and end.state is SUCCEEDED else None
