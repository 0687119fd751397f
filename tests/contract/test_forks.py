"""What the scripts do with forks at the edges that random lives meet too seldom."""

from __future__ import annotations

from typing import Any

import pytest

from taskmesh.dispatch.plan import BEFORE_UNDOS, Plan
from taskmesh.store.calls import NodeKey
from taskmesh.store.link import Command, Link
from tests.model.lab import Lab
from tests.model.shape import Shape
from tests.model.steering import FORK, INHERITED

RUN, HOLDER = "r1", "me"
CHAIN = Shape(((), (0,), (1,)), ("one",) * 3, 2, frozenset({0, 1}))


@pytest.fixture
def lab(link: Link, namespace: str) -> Lab:
    lab = Lab(link, namespace, 1000.0)
    lab.renew(HOLDER, 60.0)
    return lab


@pytest.fixture
def plan() -> Plan:
    return CHAIN.plan("compensate")


def _stored(lab: Lab) -> dict[bytes, bytes]:
    key = lab.keys.run(RUN)
    [flat] = lab.link.exchange([Command(key, "HGETALL", key)])
    return flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))


def _prepare(lab: Lab, plan: Plan, inherits: tuple[int, ...]) -> None:
    assert lab.fork(plan, RUN, b"digest", with_flow=True).word == "admitted"
    assert lab.inherit(RUN, inherits).word == "inherited"
    while wishes := lab.resets(plan, RUN, None):
        assert lab.reset(plan, RUN, FORK, wishes).word == "reset"


def _run_of(lab: Lab, plan: Plan) -> dict[str, Any]:
    return lab.read({RUN: plan}).runs[RUN]


def _run(lab: Lab, plan: Plan, node: int, state: str) -> str:
    token = lab.claim(RUN, node, 1, HOLDER).numbers[1]
    halt = "failed" if state == "failed" else ""
    return lab.settle(plan, NodeKey(RUN, node), token, state, halt, HOLDER, compensates=bool(halt)).text


def test_a_fork_runs_what_it_does_not_inherit(lab: Lab, plan: Plan) -> None:
    _prepare(lab, plan, (0,))
    assert lab.claim(RUN, 1, 1, HOLDER).word == "paused"
    assert lab.resume(plan, RUN, FORK).word == "resumed"
    assert (_run(lab, plan, 1, "succeeded"), _run(lab, plan, 2, "succeeded")) == ("running", "succeeded")
    assert _run_of(lab, plan)["expires"]


def test_a_fork_that_inherits_everything_has_ended(lab: Lab, plan: Plan) -> None:
    _prepare(lab, plan, (0, 1, 2))
    assert _run_of(lab, plan)["status"] == "running"
    answer = lab.resume(plan, RUN, FORK)
    assert (answer.word, answer.text) == ("ended", "succeeded")
    assert lab.read({RUN: plan}).users[RUN] == (0, True)


def test_a_fork_that_is_being_prepared_is_steered_by_nobody(lab: Lab, plan: Plan) -> None:
    lab.fork(plan, RUN, b"digest", with_flow=True)
    before = _stored(lab)
    assert lab.mark(plan, RUN, 0, "succeeded").word == "preparing"
    assert lab.halt(RUN, "cancelled").word == "preparing"
    assert lab.pause(RUN).word == "preparing"
    assert lab.resume(plan, RUN).word == "preparing"
    assert lab.reopen(plan, RUN, "retry").word == "preparing"
    assert _stored(lab) == before
    assert lab.terminate(plan, RUN).word == "terminated"


def test_a_slice_of_somebody_who_is_late_is_not_inherited(lab: Lab, plan: Plan) -> None:
    _prepare(lab, plan, (0,))
    lab.resume(plan, RUN, FORK)
    before = _stored(lab)
    assert lab.inherit(RUN, (1, 2)).word == "running"
    assert _stored(lab) == before


def test_what_is_inherited_is_not_undone(lab: Lab, plan: Plan) -> None:
    _prepare(lab, plan, (0,))
    lab.resume(plan, RUN, FORK)
    _run(lab, plan, 1, "succeeded")
    assert _run(lab, plan, 2, "failed") == "compensating"
    for undo in (BEFORE_UNDOS, 5):
        lab.tell_again(plan, RUN, undo)
    assert _run(lab, plan, 4, "succeeded") == "compensated"
    nodes = _run_of(lab, plan)["nodes"]
    assert nodes[0][5] == INHERITED
    assert [nodes[undo][0] for undo in (3, 4)] == ["skipped", "succeeded"]


def test_a_fork_with_nothing_of_its_own_to_undo_has_just_failed(lab: Lab, plan: Plan) -> None:
    _prepare(lab, plan, (0, 1))
    lab.resume(plan, RUN, FORK)
    assert _run(lab, plan, 2, "failed") == "failed"
    assert lab.compensate(plan, RUN).word == "nothing"
