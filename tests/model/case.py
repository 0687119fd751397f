"""One run that calls are made to, one after the other: to the scripts and to the reference model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from taskmesh.dispatch.maps.copies_again import CopyResets
from taskmesh.model.flow import OnFailure
from taskmesh.store.calls import NodeKey
from taskmesh.store.preparations import Reset
from tests.model.alike import check_alike
from tests.model.answers import Answer
from tests.model.lab import Lab
from tests.model.lives import Run, holder_of, projection, token_of
from tests.model.reference import RunModel
from tests.model.shape import Shape

RUN_ID, NEIGHBOUR_ID = "r1", "r3"
"""Both are in the same partition."""
START = 1000.0
LEASE_SECONDS = 30.0


class Call(NamedTuple):
    """A method of ``Case`` and what it is called with."""

    name: str
    arguments: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.arguments))})"


@dataclass(frozen=True)
class Situation:
    """Where a run of a small graph is after some calls.

    With a ``neighbour``, another run of the same flow is open all the time. One that is ``forked`` begins as a fork,
    one with a ``parent`` as a child of that.
    """

    shape: Shape
    steps: tuple[tuple[Any, ...], ...] = ()
    on_failure: OnFailure = OnFailure.CONTINUE
    deadline: float | None = None
    neighbour: bool = False
    forked: bool = False
    parent: str = ""


def situations_of(group: Mapping[str, tuple[tuple[Any, ...], ...]], shape: Shape, **rest: Any) -> dict[str, Situation]:
    """The situations of one graph, by name; each is in the group with its steps."""
    return {name: Situation(shape, steps, **rest) for name, steps in group.items()}


class Case:
    """A run that was brought into a situation. A call without token or holder has those of the node."""

    def __init__(self, lab: Lab, situation: Situation) -> None:
        self._lab = lab
        self._now = START
        self._leases: dict[str, float] = {}
        self._plan = situation.shape.plan(situation.on_failure)
        self._runs: dict[str, Run] = {}
        if situation.neighbour:
            self._admit(NEIGHBOUR_ID, situation.shape, None, forked=False)
        self._admit(RUN_ID, situation.shape, situation.deadline, situation.forked, situation.parent)
        self.model = self._runs[RUN_ID].model
        for holder in ("first", "second"):
            self.renew(holder)
        for name, *arguments in situation.steps:
            self._make(Call(name, tuple(arguments)))
        check_alike(self._lab, self._runs)

    def do(self, call: Call) -> str:
        """Make a call and compare what both keep then; the word of the answer."""
        answer: Answer = self._make(call)
        check_alike(self._lab, self._runs)
        return answer.word

    def _make(self, call: Call) -> Any:
        return getattr(self, call.name)(*call.arguments)

    def state(self) -> tuple[Any, ...]:
        """All that the calls before have left behind."""
        return projection(self.model), set(self.model.outbox), dict(self.model.timers)

    def _admit(self, run_id: str, shape: Shape, deadline: float | None, forked: bool, parent: str = "") -> None:
        model = RunModel(shape, None if deadline is None else self._now + deadline, forked, parent)
        run = self._runs[run_id] = Run(self._plan, model, run_id.encode())
        model.now = self._now
        if parent:
            model.go_with_parent()
        enter = self._lab.fork if forked else partial(self._lab.admit, parent=parent)
        admitted = enter(self._plan, run_id, run.digest, True, deadline)
        _same(admitted, Answer("admitted", ready=tuple(at for at in sorted(model.nodes) if at >= 0)))

    # Calls, one method for each script.

    def admit(self, digest: bytes = RUN_ID.encode()) -> Answer:
        expected = self.model.admit_again() if digest == RUN_ID.encode() else Answer("conflict")
        return _same(self._lab.admit(self._plan, RUN_ID, digest, with_flow=True), expected)

    def fork(self, digest: bytes = RUN_ID.encode()) -> Answer:
        expected = self.model.fork_again() if digest == RUN_ID.encode() else Answer("conflict")
        return _same(self._lab.fork(self._plan, RUN_ID, digest, with_flow=True), expected)

    def inherit(self, nodes: Sequence[int]) -> Answer:
        return _same(self._lab.inherit(RUN_ID, nodes), self.model.inherit(nodes))

    def claim(self, node: int, holder: str = "first", token: int | None = None) -> Answer:
        token = self._token(node, token)
        answer = self._lab.claim(RUN_ID, node, token, holder, self.model.shape.sees(node))
        return _same(answer, self.model.claim(node, token, holder, self._living))

    def settle(
        self,
        node: int,
        state: str,
        halt: str = "",
        token: int | None = None,
        holder: str | None = None,
        tolerated: int | None = None,
    ) -> Answer:
        token, holder = self._right(node, token, holder)
        compensates = self._runs[RUN_ID].compensates
        answer = self._lab.settle(self._plan, NodeKey(RUN_ID, node), token, state, halt, holder, compensates, tolerated)
        return _same(answer, self.model.settle(node, token, state, halt, holder, compensates, tolerated))

    def retry(
        self, node: int, delay: float = 1.0, counts: bool = True, token: int | None = None, holder: str | None = None
    ) -> Answer:
        token, holder = self._right(node, token, holder)
        answer = self._lab.retry(self._plan, NodeKey(RUN_ID, node), token, delay, holder, counts)
        return _same(answer, self.model.retry(node, token, delay, holder, counts))

    def wait(
        self, node: int, ticket: str = "c1", delay: float = 50.0, token: int | None = None, holder: str | None = None
    ) -> Answer:
        token, holder = self._right(node, token, holder)
        answer = self._lab.wait(self._plan, NodeKey(RUN_ID, node), token, delay, holder, ticket)
        return _same(answer, self.model.retry(node, token, delay, holder, False, ticket))

    def tell(self, node: int, ticket: str = "c1") -> Answer:
        answer = self._lab.tell_parent(self._plan, NodeKey(RUN_ID, node), ticket)
        return _same(answer, self.model.tell_parent(node, ticket))

    def beat(self, node: int, checkpoint: bytes, token: int | None = None, holder: str | None = None) -> Answer:
        token, holder = self._right(node, token, holder)
        answer = self._lab.beat(RUN_ID, node, token, checkpoint, holder)
        return _same(answer, self.model.beat(node, token, checkpoint, holder))

    def wake(self, node: int) -> Answer:
        return _same(self._lab.wake(self._plan, RUN_ID, node), self.model.wake(node))

    def signal(self, node: int, id_: str) -> Answer:
        return _same(self._lab.signal(self._plan, RUN_ID, node, id_), self.model.signal(node, id_))

    def spread(self, node: int, place: int = 0) -> Answer:
        start = self.model.shape.slices(node)[place]
        return _same(self._lab.spread(self._plan, RUN_ID, node, place), self.model.spread(node, start))

    def release(self, node: int, counts: bool = True, token: int | None = None, holder: str | None = None) -> Answer:
        token, holder = self._right(node, token, holder)
        answer = self._lab.release(self._plan, NodeKey(RUN_ID, node), token, counts, holder)
        return _same(answer, self.model.release(node, token, counts, holder))

    def redrive(self, node: int) -> Answer:
        return _same(self._lab.redrive(self._plan, RUN_ID, node), self.model.redrive(node, self._living))

    def halt(self, status: str = "cancelled", compensates: bool = False) -> Answer:
        return _same(self._lab.halt(RUN_ID, status, compensates), self.model.halt_with(status, compensates))

    def compensate(self, parent: str = "") -> Answer:
        return _same(self._lab.compensate(self._plan, RUN_ID, parent), self.model.compensate(parent))

    def pause(self) -> Answer:
        return _same(self._lab.pause(RUN_ID), self.model.pause())

    def resume(self, kind: str = "user") -> Answer:
        return _same(self._lab.resume(self._plan, RUN_ID, kind), self.model.resume(kind))

    def terminate(self) -> Answer:
        return _same(self._lab.terminate(self._plan, RUN_ID), self.model.terminate())

    def mark(self, node: int, state: str) -> Answer:
        return _same(self._lab.mark(self._plan, RUN_ID, node, state), self.model.mark(node, state))

    def reopen(self, kind: str) -> Answer:
        return _same(self._lab.reopen(self._plan, RUN_ID, kind), self.model.reopen(kind))

    def reset(self, kind: str, wishes: Sequence[Reset], further: Sequence[str | int] = ()) -> Answer:
        answer = self._lab.reset(self._plan, RUN_ID, kind, wishes, further)
        return _same(answer, self.model.reset(wishes, kind, further))

    # What situations are made of besides.

    def work(self, node: int, state: str = "succeeded", halt: str = "") -> None:
        self.claim(node)
        self.settle(node, state, halt)

    def reset_all(self, kind: str, origin: int | None = None) -> None:
        self.reset(kind, *self.wishes(origin))

    def wishes(self, origin: int | None) -> CopyResets:
        if self.model.shape.bound:
            return self._lab.copy_resets(self._plan, RUN_ID, origin)
        return CopyResets(self._lab.resets(self._plan, RUN_ID, origin), ())

    def renew(self, holder: str) -> None:
        assert self._lab.renew(holder, LEASE_SECONDS) == (holder in self._living)
        self._leases[holder] = self._now + LEASE_SECONDS

    def leave(self, holder: str) -> None:
        self._lab.end(holder)
        del self._leases[holder]

    def lose_timer(self, node: int) -> None:
        self._lab.forget_timer(RUN_ID, node)
        self.model.timers.pop(node, None)

    def pass_time(self, seconds: float) -> None:
        self._now += seconds
        self._lab.set_time(self._now)
        for run in self._runs.values():
            run.model.now = self._now

    @property
    def _living(self) -> set[str]:
        return {holder for holder, until in self._leases.items() if until > self._now}

    def _token(self, node: int, token: int | None) -> int:
        return token_of(self.model, node) if token is None else token

    def _right(self, node: int, token: int | None, holder: str | None) -> tuple[int, str]:
        return self._token(node, token), holder_of(self.model, node) if holder is None else holder


def _same(answer: Answer, expected: Answer) -> Answer:
    assert answer == expected
    return answer
