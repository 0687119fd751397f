"""The engine parks nodes that wait, and ends them when their time or their signal has come; no executor sees them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from taskmesh.client.details import NodeDetails, run_details
from taskmesh.dispatch.dispatcher import Ready, outgoing
from taskmesh.dispatch.plan import Plan
from taskmesh.model.flow import Flow, Node, Param
from taskmesh.model.validation import complete
from taskmesh.model.waiting import Approve, Default, Sleep, Wait
from taskmesh.store.calls import RUN_DEADLINE, NodeKey, Word
from taskmesh.store.signals import Signalled
from taskmesh.wire import pack
from taskmesh.worker.engine import deciding, intake, waiting
from tests.model.interpreter import Sent, end_of_wait
from tests.unit.engine_bench import EngineBench

Test = Callable[[EngineBench], Awaitable[None]]
Play = Callable[[Test], None]
KEY = NodeKey("r1", 0)


def _plan(node: Node, *others: Node) -> Plan:
    return Plan.of(complete(Flow("f", "1", (node, *others), params=(Param("x", required=False),))))


def _begin(bench: EngineBench, plan: Plan, **params: Any) -> None:
    for ready in bench.side.admit(plan, "r1", params).ready:
        bench.broker.deliver(outgoing(ready).body)


async def _end(bench: EngineBench, plan: Plan) -> dict[str, NodeDetails]:
    await bench.until(lambda: bench.is_idle and bench.status() != "running")
    return _nodes(bench, plan)


def _nodes(bench: EngineBench, plan: Plan) -> dict[str, NodeDetails]:
    return {node.name: node for node in run_details(bench.side.record(), plan).nodes}


async def _until_parked(bench: EngineBench, plan: Plan, name: str = "a") -> NodeDetails:
    await bench.until(lambda: bench.is_idle and _nodes(bench, plan)[name].status == "retrying")
    return _nodes(bench, plan)[name]


def _send(bench: EngineBench, plan: Plan, payload: Any = None) -> Signalled:
    """As a client does: the signal, then the message of the node."""
    answer = bench.side.signal(0, payload=payload)
    if answer.token:
        bench.broker.deliver(outgoing(Ready(plan, "r1", 0, "r1", answer.attempt, answer.token)).body)
    return answer


def _said(node: NodeDetails) -> str:
    assert node.error is not None
    return f"{node.error['type']}: {node.error['message']}"


@pytest.mark.parametrize("step", [(Sleep(0.3), {}), (Sleep(), {"seconds": "${params.x}"})])
def test_a_sleep_ends_when_its_time_is_over_and_never_before(play: Play, step: tuple[Sleep, dict[str, str]]) -> None:
    plan = _plan(Node("a", "", step[1], step=step[0]), Node("b", "t", needs=("a",)))

    async def test(bench: EngineBench) -> None:
        _begin(bench, plan, x="300ms")
        parked = await _until_parked(bench, plan)
        assert (parked.cause, parked.attempts, bench.side.timers()) == ("sleep", 0, {KEY})
        nodes = await _end(bench, plan)
        slept, record = nodes["a"], bench.side.record().nodes[0]
        assert (slept.status, slept.output, slept.attempts) == ("succeeded", None, 1)
        assert record.finished_at - record.scheduled_at >= 0.3
        assert dict(bench.pool.times) == {("r1", "b"): 1}
        assert bench.side.timers() == set()

    play(test)


@pytest.mark.parametrize(("x", "said"), [("soon", "not 'soon'"), (-1, "must be more than 0"), (None, "not None")])
def test_a_sleep_of_no_length_fails_with_a_sentence(play: Play, x: Any, said: str) -> None:
    plan = _plan(Node("a", "", {"seconds": "${params.x}"}, step=Sleep()))

    async def test(bench: EngineBench) -> None:
        _begin(bench, plan, x=x)
        node = (await _end(bench, plan))["a"]
        assert _said(node).startswith("SleepError: sleep must be")
        assert said in _said(node)

    play(test)


def test_a_signal_wakes_the_node_that_is_parked_for_it(play: Play) -> None:
    plan = _plan(Node("a", "", step=Wait()), Node("b", "t", {"v": "${nodes.a.output}"}))

    async def test(bench: EngineBench) -> None:
        _begin(bench, plan)
        parked = await _until_parked(bench, plan)
        assert (parked.cause, parked.attempts) == ("signal", 0)
        # It holds nothing here: no message, no place in the executors.
        assert (bench.broker.unacked, bench.pool.works) == ({}, {})
        assert _send(bench, plan, {"amount": 5}).word is Word.SIGNALLED
        node = (await _end(bench, plan))["a"]
        assert (node.status, node.output, node.attempts) == ("succeeded", {"amount": 5}, 1)
        assert node.signal is not None
        assert (node.signal.by, node.signal.id, node.signal.verdict) == ("somebody", "s1", "")
        assert bench.side.timers() == set()

    play(test)


def test_a_signal_that_comes_early_is_kept(play: Play) -> None:
    plan = _plan(Node("first", "t"), Node("a", "", needs=("first",), step=Wait(timeout_seconds=60.0)))

    async def test(bench: EngineBench) -> None:
        bodies = bench.submit(plan, deliver=False)
        early = bench.side.signal(1, payload="early")
        assert (early.word, early.token) == (Word.SIGNALLED, 0)
        for body in bodies:
            bench.broker.deliver(body)
        node = (await _end(bench, plan))["a"]
        assert (node.output, node.attempts, bench.side.timers()) == ("early", 1, set())

    play(test)


@pytest.mark.parametrize("step", [Wait(), Wait(timeout_seconds=60.0), Wait(timeout_seconds=0.0001)])
def test_a_signal_that_comes_while_the_node_is_claimed_is_heard(
    play: Play, monkeypatch: pytest.MonkeyPatch, step: Wait
) -> None:
    """Between the claim, which has not seen it, and the park or the end by time."""
    plan = _plan(Node("a", "", step=step))

    async def test(bench: EngineBench) -> None:
        endings = []

        def late(*arguments: Any) -> Any:
            ending = waiting.waiting_ending(*arguments)
            if not endings:
                _send(bench, plan, "just in time")
            endings.append(ending.state)
            return ending

        monkeypatch.setattr(deciding, "waiting_ending", late)
        _begin(bench, plan)
        node = (await _end(bench, plan))["a"]
        assert endings == ["failed" if step.timeout_seconds == 0.0001 else "retrying", "succeeded"]
        assert (node.status, node.output, node.attempts) == ("succeeded", "just in time", 1)
        assert bench.side.timers() == set()

    play(test)


@pytest.mark.parametrize(
    ("step", "args", "said"),
    [
        (Wait("payment", timeout_seconds=0.05), {}, "SignalTimeout: no signal 'payment' has come within 50 ms"),
        (
            Approve(0.05),
            {"question": "Well?"},
            "SignalTimeout: nobody has approved or rejected it within 50 ms",
        ),
    ],
)
def test_what_does_not_come_in_time_fails_its_node(play: Play, step: Wait | Approve, args: Any, said: str) -> None:
    plan = _plan(Node("a", "", args, step=step))

    async def test(bench: EngineBench) -> None:
        _begin(bench, plan)
        assert _said((await _end(bench, plan))["a"]) == said
        assert bench.side.signal(0).word is Word.ENDED

    play(test)


def test_a_default_stands_in_for_what_does_not_come(play: Play) -> None:
    plan = _plan(Node("a", "", step=Wait(timeout_seconds=0.05, default=Default({"amount": 0}))))

    async def test(bench: EngineBench) -> None:
        _begin(bench, plan)
        node = (await _end(bench, plan))["a"]
        assert (node.status, node.output, node.signal) == ("succeeded", {"amount": 0}, None)

    play(test)


def test_an_approval_tells_who_when_and_why(play: Play) -> None:
    plan = _plan(Node("a", "", {"question": "Ship ${params.x}?"}, step=Approve()))

    async def test(bench: EngineBench) -> None:
        _begin(bench, plan, x="it")
        await _until_parked(bench, plan)
        _send(bench, plan, [True, "fine"])
        node = (await _end(bench, plan))["a"]
        assert node.signal is not None
        assert (node.signal.verdict, node.signal.comment) == ("approved", "fine")
        assert node.output == {"approved": True, "by": "somebody", "at": node.signal.at, "comment": "fine"}

    play(test)


@pytest.mark.parametrize(("comment", "said"), [("too much", ": too much"), ("", "")])
def test_a_rejection_fails_its_node_with_who_and_why(play: Play, comment: str, said: str) -> None:
    plan = _plan(Node("a", "", {"question": "Well?"}, step=Approve()))

    async def test(bench: EngineBench) -> None:
        _begin(bench, plan)
        await _until_parked(bench, plan)
        _send(bench, plan, [False, comment])
        node = (await _end(bench, plan))["a"]
        assert _said(node) == f"Rejected: rejected by somebody{said}"
        assert node.signal is not None
        assert (node.signal.verdict, node.signal.comment) == ("rejected", comment)

    play(test)


PATIENT: Sequence[Wait | Approve] = (Wait(), Wait(timeout_seconds=60.0), Approve(), Approve(60.0))
HURRIED: Sequence[Wait | Approve] = (
    *(Wait(timeout_seconds=0.01), Wait(timeout_seconds=0.01, default=Default("default")), Approve(0.01)),
)


@pytest.mark.parametrize(
    ("step", "payload"),
    [
        *((step, payload) for step in (*PATIENT, *HURRIED) for payload in ([True, "c"], [False, "c"])),
        *((step, None) for step in HURRIED),
    ],
)
def test_a_wait_comes_to_what_its_words_mean(play: Play, step: Wait | Approve, payload: Any) -> None:
    """Told a second time, from the words alone."""
    plan = _plan(Node("a", "", {"question": "Well?"} if isinstance(step, Approve) else {}, step=step))

    async def test(bench: EngineBench) -> None:
        bodies = bench.submit(plan, deliver=False)
        if payload is not None:
            assert bench.side.signal(0, payload=payload).word is Word.SIGNALLED
        for body in bodies:
            bench.broker.deliver(body)
        node = (await _end(bench, plan))["a"]
        sent = node.signal and Sent(node.signal.by, node.signal.at, payload)
        told = node.error["type"] if node.error else node.output
        assert (node.status, told) == end_of_wait(step, sent, 0.01)

    play(test)


def test_a_long_wait_is_looked_at_again_and_goes_on(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LONGEST_PARK_SECONDS", 0.02)
    plan = _plan(Node("a", "", step=Wait()), Node("b", "", step=Sleep(1e9)))

    async def test(bench: EngineBench) -> None:
        _begin(bench, plan)
        await bench.until(lambda: bench.side.record().nodes[0].token > 8 and bench.side.record().nodes[1].token > 8)
        assert {node.attempts for node in _nodes(bench, plan).values()} <= {0, 1}
        assert bench.status() == "running"
        _send(bench, plan, "at last")
        await bench.until(lambda: _nodes(bench, plan)["a"].status == "succeeded")
        assert _nodes(bench, plan)["a"].attempts == 1

    play(test)


def test_a_node_that_was_not_to_run_does_not_wait(play: Play) -> None:
    plan = _plan(Node("a", "", when="params.x > 5", step=Wait()), Node("b", "", when="params.x < 5", step=Sleep(0.01)))

    async def test(bench: EngineBench) -> None:
        _begin(bench, plan, x=1)
        nodes = await _end(bench, plan)
        assert {name: str(node.status) for name, node in nodes.items()} == {"a": "skipped", "b": "succeeded"}

    play(test)


def test_a_wait_in_a_run_with_a_deadline_is_parked_all_the_same(play: Play) -> None:
    plan = _plan(Node("a", "", step=Wait(timeout_seconds=600.0)))

    async def test(bench: EngineBench) -> None:
        bench.submit(plan, deadline_seconds=60.0)
        await _until_parked(bench, plan)
        assert bench.side.timers() == {KEY, NodeKey("r1", RUN_DEADLINE)}

    play(test)


def test_a_wide_question_and_its_signal_are_read_in_pages(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "FIELDS_PER_CLAIM", 1)
    plan = _plan(Node("a", "", {"question": "${params.x}?"}, step=Approve()))

    async def test(bench: EngineBench) -> None:
        _begin(bench, plan, x="Well")
        await _until_parked(bench, plan)
        _send(bench, plan, [True, ""])
        assert (await _end(bench, plan))["a"].status == "succeeded"

    play(test)


def test_a_payload_is_the_output_byte_by_byte(play: Play) -> None:
    plan = _plan(Node("a", "", step=Wait()))
    payload = {"text": "ä\0", "bytes": b"\xff\x00", "deep": [[[1.5, None, True]]]}

    async def test(bench: EngineBench) -> None:
        _begin(bench, plan)
        await _until_parked(bench, plan)
        _send(bench, plan, payload)
        await _end(bench, plan)
        assert bench.side.record().outputs[0] == pack(payload)

    play(test)
