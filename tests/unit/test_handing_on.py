"""How long a node with an unknown task is handed on: with growing waits, not for ever, anew once somebody ran it."""

from __future__ import annotations

from typing import Any

import pytest

from taskmesh.broker.protocol import AckToken, Delivery
from taskmesh.model.flow import Node
from taskmesh.store.calls import ClaimAnswer, NodeKey, Word
from taskmesh.wire import pack, unpack
from taskmesh.worker.engine.attempt import Attempt
from taskmesh.worker.engine.handing_on import LONGEST_SECONDS, SHORTEST_SECONDS, HandingOn
from tests.contract.store_bench import plan_of

KNOWN = ("shop:reserve", "shop:ship")


def _attempt(token: int, task: str = "shop:reserv") -> Attempt:
    plan = plan_of(Node("only", task))
    delivery = Delivery(b"", "q", False, AckToken(1, 1))
    return Attempt(1, NodeKey("r1", 0), plan, "r1", 1, delivery, token=token, number=1)


def _answer(open_seconds: float, error: bytes | None) -> ClaimAnswer:
    return ClaimAnswer(Word.CLAIMED, fields=(error,), open_seconds=open_seconds)


def _hand_on(
    patience_seconds: float, backlog_seconds: float, run_in_between_at: int | None = None
) -> tuple[list[float], str, dict[str, Any]]:
    """The waits until the node fails, its last state and error."""
    handing_on, waits = HandingOn(patience_seconds, lambda: None), []
    error, token, now = None, 2, backlog_seconds
    while True:
        ending = handing_on.ending(_attempt(token), _answer(now, error), KNOWN)
        if ending.state != "retrying":
            return waits, ending.state, unpack(ending.error)
        assert not ending.counts
        waits.append(ending.delay_seconds)
        error, token, now = ending.error, token + 2, now + ending.delay_seconds
        if len(waits) == run_in_between_at:
            token, now = token + 2, now + 1000.0


def test_the_waits_grow_and_their_sum_is_the_patience() -> None:
    waits, state, error = _hand_on(60.0, backlog_seconds=500.0)
    assert state == "failed"
    assert sum(waits) == pytest.approx(60.0)
    assert waits[0] == SHORTEST_SECONDS
    assert max(waits) == LONGEST_SECONDS
    assert sorted(waits[:-1]) == waits[:-1]
    assert len(waits) < 40
    assert error["type"] == "UnknownTask"
    assert "did you mean 'shop:reserve'?" in error["message"]


def test_a_node_type_is_missed_in_its_own_words() -> None:
    ending = HandingOn(0.0, lambda: None).ending(_attempt(2, "@echo"), _answer(1.0, None), KNOWN)

    message = unpack(ending.error)["message"]
    assert message.startswith("no worker of this pool has the node type 'echo' on")
    assert "`taskmesh plugins ls`" in message


def test_no_patience_fails_at_once() -> None:
    assert _hand_on(0.0, backlog_seconds=5.0)[:2] == ([], "failed")


def test_it_begins_anew_after_somebody_ran_the_node() -> None:
    waits, _, _ = _hand_on(10.0, backlog_seconds=0.0, run_in_between_at=3)
    assert sum(waits[3:]) == pytest.approx(10.0)


@pytest.mark.parametrize("error", [b"\xc1", pack("text"), pack({"type": "ValueError", "message": "", "traceback": ""})])
def test_an_error_of_another_kind_begins_it(error: bytes) -> None:
    ending = HandingOn(10.0, lambda: None).ending(_attempt(2), _answer(500.0, error), KNOWN)
    assert ending.delay_seconds == SHORTEST_SECONDS
