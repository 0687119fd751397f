"""A script that meets a key of another type refuses, and has written nothing: Redis does not take writes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
import redis

from taskmesh.dispatch.plan import Plan
from taskmesh.errors import StoreUnavailableError
from taskmesh.model.hooks import Hook
from taskmesh.model.triggers import Rule, Trigger
from taskmesh.store.calls import NodeKey, Word
from taskmesh.store.link import Link
from taskmesh.store.preparations import Reset
from taskmesh.store.staging import stage_items
from tests.model.answers import Answer
from tests.model.lab import Lab
from tests.model.shape import BEFORE_HOOKS, TO_PARENT, Shape
from tests.model.steering import FORK

RUN, HOLDER = "r1", "me"

JOIN = Shape(((), (0,), (0,), (0,), (1, 2)), ("one", "two", "two", "one", "one"), 2)
"""Node 0 tells three dependents in two slices, into both outboxes; node 4 counts."""
SINGLE = Shape(((),), ("one",), 2)
UNDOABLE = Shape(((),), ("one",), 2, frozenset({0}))
SKIPPED = Shape(((), (0,), (1,)), ("one", "two", "one"), 2)
RULES = Shape(((), (0,), (0, 1)), ("one", "two", "two"), 2, triggers={2: Trigger(Rule.ALL_DONE)})
DEPENDS = Shape(((), (0,), (0, 1)), ("one", "two", "two"), 2, triggers={2: Trigger(depends="n0.failed || n1")})
HOOKED = Shape(((), ()), ("one", "two"), 2, triggers={1: Trigger(hook=Hook.FINALLY)})
BOUND = Shape(((), (), ()), ("one",) * 3, 2, bound=2)
MANY_ROOTS = Shape(((), (), ()), ("one", "two", "one"), 2)

Act = Callable[[Lab, Plan], Answer | bool]


@dataclass(frozen=True)
class Case:
    """A script call, after what must have happened before it."""

    shape: Shape
    call: Act
    before: tuple[Act, ...] = ()


def _admit(lab: Lab, plan: Plan) -> Answer:
    return lab.admit(plan, RUN, b"digest", with_flow=True)


def _claim(lab: Lab, plan: Plan, node: int = 0, token: int = 1) -> Answer:
    return lab.claim(RUN, node, token, HOLDER)


def _settle(lab: Lab, plan: Plan, state: str = "succeeded", node: int = 0) -> Answer:
    return lab.settle(plan, NodeKey(RUN, node), 2, state, "", HOLDER)


def _fail_fast(lab: Lab, plan: Plan) -> Answer:
    return lab.settle(plan, NodeKey(RUN, 0), 4, "failed", "failed", HOLDER)


def _spread(lab: Lab, plan: Plan) -> Answer:
    return lab.spread(plan, RUN, 0, 1)


def _release(lab: Lab, plan: Plan) -> Answer:
    return lab.release(plan, NodeKey(RUN, 0), 2, True, HOLDER)


def _redrive(lab: Lab, plan: Plan) -> Answer:
    return lab.redrive(plan, RUN, 0)


def _retry(lab: Lab, plan: Plan) -> Answer:
    return lab.retry(plan, NodeKey(RUN, 0), 2, 0.0, HOLDER)


def _wake(lab: Lab, plan: Plan) -> Answer:
    return lab.wake(plan, RUN, 0)


def _signal(lab: Lab, plan: Plan) -> Answer:
    return lab.signal(plan, RUN, 0, "one")


def _halt(lab: Lab, plan: Plan) -> Answer:
    return lab.halt(RUN, "cancelled")


def _renew(lab: Lab, plan: Plan) -> bool:
    return lab.renew(HOLDER, 30.0)


def _pause(lab: Lab, plan: Plan) -> Answer:
    return lab.pause(RUN)


def _watch(lab: Lab, plan: Plan) -> Answer:
    lab.store.watch_run(RUN)
    return Answer("watched")


def _stage(lab: Lab, plan: Plan) -> Answer:
    stage_items(lab.store, RUN, [b"one", b"two"])
    return Answer("staged")


RUNNING = (_admit, _renew, _claim)
_fail = partial(_settle, state="failed")


def _reopen(lab: Lab, plan: Plan) -> Answer:
    return lab.reopen(plan, RUN, "retry")


def _fork(lab: Lab, plan: Plan) -> Answer:
    return lab.fork(plan, RUN, b"digest", with_flow=True)


def _admit_child(lab: Lab, plan: Plan, deadline_seconds: float | None = None) -> Answer:
    return lab.admit(plan, RUN, b"digest", True, deadline_seconds, parent="a parent")


def _spread_to_parent(lab: Lab, plan: Plan) -> Answer:
    return lab.spread(plan, RUN, TO_PARENT, 0)


def _wait(lab: Lab, plan: Plan) -> Answer:
    return lab.wait(plan, NodeKey(RUN, 0), 2, 60.0, HOLDER, "child")


def _tell_parent(lab: Lab, plan: Plan) -> Answer:
    return lab.tell_parent(plan, NodeKey(RUN, 0), "child")


def _terminate(lab: Lab, plan: Plan) -> Answer:
    return lab.terminate(plan, RUN)


CHILD_RUNS = (_admit_child, _renew, _claim)
REOPENED = (*RUNNING, lambda lab, plan: lab.terminate(plan, RUN), _reopen)


def _tell_hooks(lab: Lab, plan: Plan) -> Answer:
    return lab.spread(plan, RUN, BEFORE_HOOKS, 0)


def _reset_hooks(lab: Lab, plan: Plan) -> Answer:
    wishes = [Reset(1, "ready", 1, "waiting", -1, -1, 1), Reset(BEFORE_HOOKS, "succeeded", 1, "waiting", 1, -1, 0)]
    return lab.reset(plan, RUN, "retry", wishes)


HOOKS_TOLD = (*RUNNING, _settle, _tell_hooks)
HOOKS_REOPENED = (*HOOKS_TOLD, lambda lab, plan: lab.terminate(plan, RUN), _reopen)

CASES = {
    "admit": Case(JOIN, _admit),
    "admit many first nodes": Case(MANY_ROOTS, _admit),
    "admit with a deadline": Case(JOIN, lambda lab, plan: lab.admit(plan, RUN, b"digest", True, 5.0)),
    "claim": Case(JOIN, _claim, (_admit, _renew)),
    "settle and tell": Case(JOIN, _settle, RUNNING),
    "settle and count": Case(JOIN, partial(_settle, node=1), (*RUNNING, _settle, partial(_claim, node=1))),
    "settle the last": Case(SINGLE, _settle, RUNNING),
    "settle and skip": Case(SKIPPED, _fail, RUNNING),
    "fail the last": Case(SINGLE, _fail, RUNNING),
    "spread": Case(JOIN, _spread, (*RUNNING, _settle)),
    "spread a failure": Case(JOIN, _spread, (*RUNNING, _fail)),
    "settle and count for a rule": Case(RULES, _fail, RUNNING),
    "settle and make ready by a rule": Case(DEPENDS, _fail, RUNNING),
    "settle what was not to run": Case(SKIPPED, partial(_settle, state="skipped"), RUNNING),
    "settle and let the next begin": Case(BOUND, _settle, RUNNING),
    "settle and leave out the next": Case(BOUND, _settle, (*RUNNING, _halt)),
    "stage": Case(SINGLE, _stage),
    "stage for a run that is there": Case(SINGLE, _stage, (_admit,)),
    "release": Case(JOIN, _release, RUNNING),
    "beat": Case(JOIN, lambda lab, plan: lab.beat(RUN, 0, 2, b"half", HOLDER), RUNNING),
    "redrive": Case(JOIN, _redrive, (_admit, _renew)),
    "redrive what runs": Case(JOIN, _redrive, RUNNING),
    "redrive what has ended": Case(SINGLE, _redrive, (*RUNNING, _settle)),
    "renew": Case(JOIN, _renew, (_admit, _renew)),
    "redrive what waits for its next attempt": Case(JOIN, _redrive, (*RUNNING, _retry)),
    "retry": Case(JOIN, _retry, RUNNING),
    "wake": Case(JOIN, _wake, (*RUNNING, _retry)),
    "wake again": Case(JOIN, _wake, (*RUNNING, _retry, _wake)),
    "signal early": Case(JOIN, _signal, (_admit,)),
    "signal what runs": Case(JOIN, _signal, RUNNING),
    "signal what is parked": Case(JOIN, _signal, (*RUNNING, _retry)),
    "signal again": Case(JOIN, _signal, (*RUNNING, _retry, _signal)),
    "halt": Case(JOIN, _halt, (_admit,)),
    "halt what was retried": Case(JOIN, _halt, (*RUNNING, _retry)),
    "fail fast": Case(JOIN, _fail_fast, (*RUNNING, _retry, _wake, partial(_claim, token=3))),
    "halt what is paused": Case(JOIN, lambda lab, plan: lab.halt(RUN, "cancelled"), (_admit, _pause)),
    "pause": Case(JOIN, _pause, (_admit,)),
    "resume": Case(JOIN, lambda lab, plan: lab.resume(plan, RUN), (_admit, _pause)),
    "terminate": Case(JOIN, lambda lab, plan: lab.terminate(plan, RUN), RUNNING),
    "claim in a paused run": Case(JOIN, _claim, (_admit, _renew, _pause)),
    "redrive in a paused run": Case(JOIN, _redrive, (_admit, _renew, _pause)),
    "mark": Case(JOIN, lambda lab, plan: lab.mark(plan, RUN, 0, "succeeded"), RUNNING),
    "mark the last": Case(SINGLE, lambda lab, plan: lab.mark(plan, RUN, 0, "skipped"), RUNNING),
    "mark what is retrying": Case(JOIN, lambda lab, plan: lab.mark(plan, RUN, 0, "succeeded"), (*RUNNING, _retry)),
    "reopen": Case(SINGLE, lambda lab, plan: lab.reopen(plan, RUN, "retry"), (*RUNNING, _fail)),
    "reset": Case(
        JOIN, lambda lab, plan: lab.reset(plan, RUN, "retry", [Reset(0, "running", 2, "waiting", 0, -1, 0)]), REOPENED
    ),
    "fork": Case(JOIN, _fork),
    "fork with a deadline": Case(JOIN, lambda lab, plan: lab.fork(plan, RUN, b"digest", True, 5.0)),
    "fork again": Case(JOIN, _fork, (_fork,)),
    "inherit": Case(JOIN, lambda lab, plan: lab.inherit(RUN, [0, 1]), (_fork,)),
    "reset in a fork": Case(
        JOIN, lambda lab, plan: lab.reset(plan, RUN, FORK, [Reset(1, "", 0, "ready", -1, -1, 1)]), (_fork,)
    ),
    "resume what has ended": Case(
        SINGLE, lambda lab, plan: lab.resume(plan, RUN, "retry"), (*RUNNING, _settle, _reopen)
    ),
    "settle the last before the hooks of the flow": Case(HOOKED, _settle, RUNNING),
    "tell the hooks of the flow": Case(HOOKED, _tell_hooks, (*RUNNING, _settle)),
    "reset the hooks of the flow": Case(HOOKED, _reset_hooks, HOOKS_REOPENED),
    "resume where only hooks are left": Case(
        HOOKED, lambda lab, plan: lab.resume(plan, RUN, "retry"), (*HOOKS_REOPENED, _reset_hooks)
    ),
    "watch": Case(JOIN, _watch, (_admit,)),
    "wait for a child": Case(JOIN, _wait, RUNNING),
    "tell a parent": Case(JOIN, _tell_parent, (*RUNNING, _wait)),
    "tell a parent that runs": Case(JOIN, _tell_parent, RUNNING),
    "terminate what waits": Case(JOIN, _terminate, (*RUNNING, _wait)),
    "tell the parent of a child": Case(SINGLE, _spread_to_parent, (*CHILD_RUNS, _settle)),
    "admit a child": Case(JOIN, _admit_child),
    "admit a child with a deadline": Case(JOIN, partial(_admit_child, deadline_seconds=5.0)),
    "end a child": Case(SINGLE, _settle, CHILD_RUNS),
    "terminate a child": Case(SINGLE, _terminate, CHILD_RUNS),
    "undo a child for its parent": Case(
        UNDOABLE, lambda lab, plan: lab.compensate(plan, RUN, "undo of it"), (*CHILD_RUNS, _settle)
    ),
}
KEYS: dict[str, Callable[[Lab, Plan], str]] = {
    "run": lambda lab, plan: lab.keys.run(RUN),
    "flow": lambda lab, plan: lab.keys.partition_of(RUN).flow(plan.hash),
    "open": lambda lab, plan: lab.keys.partition_of(RUN).open_runs,
    "closed": lambda lab, plan: lab.keys.partition_of(RUN).closed_runs,
    "holders": lambda lab, plan: lab.keys.partition_of(RUN).holders,
    "timers": lambda lab, plan: lab.keys.partition_of(RUN).timers,
    "children": lambda lab, plan: lab.keys.partition_of(RUN).children,
    "halted": lambda lab, plan: lab.keys.partition_of(RUN).halted,
    "retrying": lambda lab, plan: lab.keys.partition_of(RUN).retrying(RUN),
    "outbox one": lambda lab, plan: lab.keys.partition_of(RUN).outbox("one"),
    "outbox two": lambda lab, plan: lab.keys.partition_of(RUN).outbox("two"),
}


@pytest.mark.parametrize("key_name", KEYS)
@pytest.mark.parametrize("case_name", CASES)
def test_a_refused_call_has_written_nothing(
    link: Link, client: redis.Redis, namespace: str, monkeypatch: pytest.MonkeyPatch, case_name: str, key_name: str
) -> None:
    monkeypatch.setattr("taskmesh.dispatch.plan.EDGES_PER_SCRIPT", 2)
    case, lab = CASES[case_name], Lab(link, namespace, 1000.0)
    plan = case.shape.plan()
    for act in case.before:
        act(lab, plan)
    key = KEYS[key_name](lab, plan)
    client.delete(key)
    client.set(key, "of another type")
    before = _everything(client, namespace)
    if _is_refused(lambda: case.call(lab, plan)):
        assert _everything(client, namespace) == before
    else:
        # A key that this call had no need of.
        assert client.get(key) == b"of another type"


def _is_refused(call: Callable[[], Answer | bool]) -> bool:
    try:
        answer = call()
    except StoreUnavailableError:
        return True
    return isinstance(answer, Answer) and answer.word == Word.BROKEN


def _everything(client: redis.Redis, namespace: str) -> dict[bytes, bytes | None]:
    return {key: client.dump(key) for key in client.scan_iter(match=f"{namespace}:*")}
