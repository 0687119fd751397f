"""What a terminated run no longer takes, and what a reset that is repeated no longer counts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskmesh.dispatch.plan import Plan
from taskmesh.store.calls import NodeKey
from taskmesh.store.link import Command, Link
from taskmesh.store.opening import open_link
from tests.model.lab import Lab
from tests.model.shape import Shape

RUN, HOLDER = "r1", "me"
KEY = NodeKey(RUN, 0)
FIRST_CLAIM = 2
SINGLE = Shape(((),), ("one",), 2)
FAN = Shape(((), (0,), (0,), (0,)), ("one", "two", "two", "one"), 2)
"""Node 0 tells three dependents in two slices."""


@pytest.fixture
def link(redis_url: str) -> Iterator[Link]:
    link = open_link(redis_url, 2.0, 5.0)
    yield link
    link.close()


@pytest.fixture
def lab(link: Link, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setattr("taskmesh.dispatch.plan.EDGES_PER_SCRIPT", 2)
    return Lab(link, namespace, 1000.0)


def _begin(lab: Lab, plan: Plan) -> None:
    lab.admit(plan, RUN, b"digest", with_flow=True)
    lab.renew(HOLDER, 60.0)
    assert lab.claim(RUN, 0, 1, HOLDER).word == "claimed"


def _stored(lab: Lab) -> dict[bytes, bytes]:
    key = lab.keys.run(RUN)
    [flat] = lab.link.exchange([Command(key, "HGETALL", key)])
    return flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))


def test_a_terminated_run_takes_no_node_back(lab: Lab) -> None:
    plan = SINGLE.plan()
    _begin(lab, plan)
    assert lab.terminate(plan, RUN).word == "terminated"
    before = _stored(lab)
    assert lab.release(plan, KEY, FIRST_CLAIM, True, HOLDER).word == "stale"
    assert _stored(lab) == before


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
def test_a_terminated_run_takes_no_end(lab: Lab, state: str) -> None:
    plan = SINGLE.plan()
    _begin(lab, plan)
    assert lab.terminate(plan, RUN).word == "terminated"
    before = _stored(lab)
    assert lab.settle(plan, KEY, FIRST_CLAIM, state, "", HOLDER).word == "stale"
    assert _stored(lab) == before


def test_a_terminated_run_takes_no_retry(lab: Lab) -> None:
    plan = SINGLE.plan()
    _begin(lab, plan)
    assert lab.terminate(plan, RUN).word == "terminated"
    before = _stored(lab)
    assert lab.retry(plan, KEY, FIRST_CLAIM, 1.0, HOLDER).word == "stale"
    assert _stored(lab) == before


def test_a_terminated_run_starts_and_wakes_nothing(lab: Lab) -> None:
    plan = SINGLE.plan()
    lab.admit(plan, RUN, b"digest", with_flow=True)
    assert lab.terminate(plan, RUN).word == "terminated"
    before = _stored(lab)
    assert lab.claim(RUN, 0, 1, HOLDER).word == "ended"
    assert lab.wake(plan, RUN, 0).word == "settled"
    assert lab.redrive(plan, RUN, 0).word == "settled"
    assert _stored(lab) == before


def test_a_terminated_run_tells_nobody(lab: Lab) -> None:
    plan = FAN.plan()
    _begin(lab, plan)
    assert lab.settle(plan, KEY, FIRST_CLAIM, "succeeded", "", HOLDER).word == "settled"
    assert lab.terminate(plan, RUN).word == "terminated"
    before = _stored(lab)
    assert lab.spread(plan, RUN, 0, 1).ready == ()
    assert _stored(lab) == before


def test_a_reset_that_is_repeated_counts_once(lab: Lab) -> None:
    plan = SINGLE.plan()
    _begin(lab, plan)
    assert lab.settle(plan, KEY, FIRST_CLAIM, "failed", "failed", HOLDER).word == "settled"
    lab.reopen(plan, RUN, "retry")
    wishes = lab.resets(plan, RUN, None)
    lab.reset(plan, RUN, "retry", wishes)
    once = _stored(lab)
    lab.reset(plan, RUN, "retry", wishes)
    assert once[b"remaining"] == b"1"
    assert _stored(lab) == once
