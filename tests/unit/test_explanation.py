"""What a node waits for, told from what is stored of it."""

from __future__ import annotations

import pytest

from taskmesh.model import waiting as signals
from taskmesh.model.explanation import Attempts, Circumstances, LastError, NodeExplanation, explain_node
from taskmesh.model.flow import Node
from taskmesh.model.next_event import EventKind, NextEvent, NodeFacts, next_event
from taskmesh.model.policies import NO_LIMITS, RetryPolicy, TimeLimits, Wait
from taskmesh.model.states import NodeState
from taskmesh.model.steps import Step
from taskmesh.model.waiting import Sleep

NOW = 1000.0
SERVED = Circumstances(NOW, servers=2, probed_at=NOW - 1.5, is_kept=True, resume="taskmesh resume r1")
DESERTED = Circumstances(NOW, servers=0, probed_at=None, is_kept=False)
READY, RUNNING, RETRYING, WAITING = NodeState.READY, NodeState.RUNNING, NodeState.RETRYING, NodeState.WAITING


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (NodeFacts(WAITING, needs=("a",)), NextEvent(EventKind.NODES)),
        (NodeFacts(READY, is_due=True), NextEvent(EventKind.CLAIM)),
        (NodeFacts(READY, is_due=True, is_held=True), NextEvent(EventKind.RESUME)),
        (NodeFacts(RUNNING, is_due=True, lease_until=NOW + 3), NextEvent(EventKind.ATTEMPT, NOW + 3)),
        (NodeFacts(RUNNING, is_due=True, lease_until=NOW), NextEvent(EventKind.TAKEOVER)),
        (NodeFacts(RUNNING, is_due=True), NextEvent(EventKind.TAKEOVER)),
        (NodeFacts(RETRYING, is_due=True, timer_at=NOW + 9), NextEvent(EventKind.TIMER, NOW + 9)),
        (NodeFacts(RETRYING, timer_at=NOW + 9, breaker="pay"), NextEvent(EventKind.BREAKER, NOW + 9)),
        (NodeFacts(RETRYING, timer_at=NOW + 9, child="r9"), NextEvent(EventKind.CHILD, NOW + 9)),
        (NodeFacts(RETRYING, NOW + 9, is_due=True), NextEvent(EventKind.TIMER, NOW + 9)),
        (NodeFacts(RETRYING, timer_at=NOW + 9, awaits_signal=True), NextEvent(EventKind.SIGNAL, NOW + 9)),
        (NodeFacts(RETRYING, timer_at=NOW + 9, awaits_signal=True, is_halted=True), NextEvent(EventKind.SIGNAL, NOW)),
        (NodeFacts(RETRYING, timer_at=NOW + 9, is_halted=True), NextEvent(EventKind.TIMER, NOW)),
        (NodeFacts(WAITING, is_held=True), NextEvent(EventKind.RESUME)),
    ],
)
def test_each_unfinished_node_has_a_next_event(facts: NodeFacts, expected: NextEvent) -> None:
    assert next_event(facts, NOW) == expected


@pytest.mark.parametrize(
    "facts",
    [
        NodeFacts(WAITING),
        NodeFacts(READY),
        NodeFacts(READY, is_held=True),
        NodeFacts(RUNNING, lease_until=NOW + 3),
        NodeFacts(RETRYING, NOW + 9),
    ],
)
def test_what_nothing_would_bring_on_is_told(facts: NodeFacts) -> None:
    assert next_event(facts, NOW) is None
    assert "fault" in _explained(facts).reasons[0]


def _explained(
    facts: NodeFacts,
    around: Circumstances = SERVED,
    past: Attempts | None = None,
    limits: TimeLimits = NO_LIMITS,
    retry: RetryPolicy | None = None,
) -> NodeExplanation:
    node = Node("n", "t", pool="io", limits=limits, retry=retry)
    return explain_node(node, facts, past or Attempts(1, 0, NOW - 5, NOW - 6, "host-1"), around)


def _text(explanation: NodeExplanation) -> str:
    return "\n".join(explanation.reasons)


def test_a_waiting_node_names_what_it_waits_for_with_the_states() -> None:
    names = tuple(f"n{at}" for at in range(7))
    around = Circumstances(NOW, 1, None, True, needed={"n0": RUNNING})
    explanation = _explained(NodeFacts(WAITING, needs=names), around)
    assert explanation.reasons == (
        "waits for n0 (running), n1 (waiting), n2 (waiting), n3 (waiting), n4 (waiting) and 2 more",
    )
    assert (explanation.event, explanation.needs) == ("nodes", names)


def test_a_ready_node_tells_how_old_its_queue_is() -> None:
    facts = NodeFacts(READY, NOW - 12, is_due=True)
    text = _text(_explained(facts))
    assert "'io' since 12.0 s" in text
    assert "2 I/O processes" in text
    assert "at most 1.5 s ago" in text
    assert "published again within seconds" not in text
    assert "nobody keeps house" not in text
    late = Circumstances(NOW, 1, NOW - 90, True)
    assert "last 1 min 30 s" in _text(_explained(facts, late))
    assert "no probe" in _text(_explained(facts, Circumstances(NOW, 1, None, False)))


def test_a_pool_that_nobody_serves_is_told_with_what_to_do() -> None:
    text = _text(_explained(NodeFacts(READY, NOW - 12, is_due=True), DESERTED))
    assert "no worker serves pool 'io'; start one with `taskmesh worker -A APP --pool io`" in text
    assert "no worker serves" in _text(_explained(NodeFacts(RUNNING, is_due=True), DESERTED))


def test_nobody_who_keeps_house_is_told() -> None:
    around = Circumstances(NOW, 1, NOW - 1, is_kept=False)
    for facts in (
        NodeFacts(READY, NOW - 2, is_due=True),
        NodeFacts(RUNNING, is_due=True),
        NodeFacts(RETRYING, NOW + 5, is_due=True),
    ):
        assert "taskmesh keeper" in _text(_explained(facts, around))


def test_a_running_node_tells_holder_lease_and_limits() -> None:
    facts = NodeFacts(RUNNING, NOW - 6, is_due=True, lease_until=NOW + 10)
    explanation = _explained(facts, limits=TimeLimits(30, None, 60, 7))
    text = _text(explanation)
    assert "attempt 1 runs on host-1 since 5.0 s" in text
    assert "in force for 10.0 s" in text
    assert "killed in 25.0 s: timeout" in text
    assert "in 54.0 s: schedule_to_close" in text
    assert "no heartbeat for 7.0 s" in text
    assert (explanation.since, explanation.until) == (NOW - 5, NOW + 10)


def test_a_node_whose_holder_is_gone() -> None:
    text = _text(_explained(NodeFacts(RUNNING, is_due=True, lease_until=NOW - 4)))
    assert "whose lease ended 4.0 s ago" in text


def test_a_retrying_node_tells_when_why_and_how_often() -> None:
    facts = NodeFacts(RETRYING, NOW + 3, is_due=True, timer_at=NOW + 3)
    past = Attempts(2, 2, NOW - 5, NOW - 9, "", LastError("ValueError: no"))
    text = _text(_explained(facts, past=past, retry=RetryPolicy(5, Wait.FIXED, 3.0)))
    assert "tried again in 3.0 s; 2 of at most 5 tries have failed (wait fixed, 3.0 s)" in text
    assert "the last one said: ValueError: no" in text
    assert "timer is lost" not in text
    assert "timer is lost" in _text(_explained(NodeFacts(RETRYING, NOW + 3, is_due=True)))
    unknown = Attempts(0, error=LastError("UnknownTask: t", is_unknown_task=True))
    assert "given to other workers in 3.0 s" in _text(_explained(facts, past=unknown))


def test_a_node_behind_an_open_breaker() -> None:
    facts = NodeFacts(RETRYING, NOW + 3, is_due=True, timer_at=NOW + 3, breaker="pay")
    assert "circuit breaker 'pay', in 3.0 s" in _text(_explained(facts))


def test_a_node_that_waits_for_its_child() -> None:
    text = _text(_explained(NodeFacts(RETRYING, NOW + 60, is_due=True, timer_at=NOW + 60, child="r9")))
    assert "waits for the end of run r9" in text
    assert "`taskmesh explain r9` goes on there" in text
    assert "looks by itself whether that has ended in 1 min 00 s" in text
    halted = NodeFacts(RETRYING, NOW + 60, is_due=True, timer_at=NOW + 60, child="r9", is_halted=True)
    assert "the keeper has that run end" in _text(_explained(halted))


def test_held_and_halted() -> None:
    held = NodeFacts(READY, NOW - 1, is_due=True, is_held=True)
    assert "`taskmesh resume r1`" in _text(_explained(held))
    halted = _text(_explained(NodeFacts(READY, NOW - 1, is_due=True, is_halted=True)))
    assert "ends as cancelled" in halted
    assert "the keeper ends it within seconds" in halted
    assert "serve" not in halted
    assert "as cancelled" in _text(_explained(NodeFacts(RETRYING, NOW + 9, is_due=True, is_halted=True)))
    waiting = NodeFacts(RETRYING, NOW + 9, is_due=True, is_held=True)
    assert "`taskmesh resume r1`" in _text(_explained(waiting))


LOOKED_AT = NOW + 2_592_000.0
"""When a node that waits for longer is looked at again."""


@pytest.mark.parametrize(
    ("step", "until", "said"),
    [
        (Sleep(7200.0), NOW + 7190.0, "sleeps, and goes on in 1 h 59 min"),
        (Sleep(90 * 86_400.0), NOW + 90 * 86_400.0 - 10.0, "sleeps, and goes on in 2159 h 59 min"),
        (Sleep(), LOOKED_AT, "sleeps, and is looked at in 720 h 00 min"),
        (signals.Wait(), None, "waits for a signal 'n', without end"),
        (
            signals.Wait("paid", timeout_seconds=70.0),
            NOW + 60.0,
            "waits for a signal 'paid', for 1 min 00 s more\nthen it fails with SignalTimeout",
        ),
        (
            signals.Wait(timeout_seconds=70.0, default=signals.Default(None)),
            NOW + 60.0,
            "waits for a signal 'n', for 1 min 00 s more\nthen its output is its default",
        ),
        (
            signals.Approve(70.0),
            NOW + 60.0,
            "waits for somebody's decision, for 1 min 00 s more\nthen it fails with SignalTimeout",
        ),
    ],
)
def test_a_parked_node_says_for_what_and_until_when(step: Step, until: float | None, said: str) -> None:
    is_sleep = isinstance(step, Sleep)
    facts = NodeFacts(RETRYING, is_due=True, timer_at=LOOKED_AT, awaits_signal=not is_sleep)
    explained = explain_node(Node("n", "", step=step), facts, Attempts(opened_at=NOW - 10.0), SERVED)
    assert _text(explained) == said
    assert (explained.event, explained.until) == ("timer" if is_sleep else "signal", until)


def test_a_parked_node_of_a_halted_run_is_ended() -> None:
    facts = NodeFacts(RETRYING, is_due=True, timer_at=LOOKED_AT, awaits_signal=True, is_halted=True)
    explained = explain_node(Node("n", "", step=signals.Wait()), facts, Attempts(opened_at=NOW - 10.0), SERVED)
    assert explained.reasons == ("is woken to end as cancelled, since nothing more of its run starts",)
