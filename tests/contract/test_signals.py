"""Signals and decisions as clients send them, on every server that taskmesh supports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pytest

from taskmesh.broker.protocol import Outgoing
from taskmesh.client.details import run_details
from taskmesh.client.explaining import Explainer
from taskmesh.client.history import run_history
from taskmesh.client.parts import ClientParts
from taskmesh.client.reopening import Reopening
from taskmesh.client.signalling import Signalling
from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.plans import Plans
from taskmesh.errors import RunNotFoundError, RunStateError, TooLargeError, UsageError
from taskmesh.model.explanation import NodeExplanation
from taskmesh.model.flow import Flow, Node, Param
from taskmesh.model.validation import complete
from taskmesh.model.waiting import Approve, Default, Sleep, Wait
from taskmesh.payload.large_values import NOWHERE
from taskmesh.store.calls import NodeKey, Who, Word
from taskmesh.wire import pack, unpack
from taskmesh.wire.messages import NodeMessage, decode_message
from taskmesh.worker.engine.waiting import LONGEST_PARK_SECONDS
from tests.contract.store_bench import Bench

AMOUNT = {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "number"}}}
PLAN = Plan.of(
    complete(
        Flow(
            "order",
            "1",
            (
                Node("paid", "", step=Wait("payment", AMOUNT, 3600.0, Default({"amount": 0})), pool="default"),
                Node("ok", "", {"question": "Ship ${params.what}?"}, needs=("paid",), step=Approve()),
                Node("rest", "", step=Sleep(7200.0)),
                Node("ship", "t"),
            ),
            params=(Param("what"),),
        )
    )
)
PAID, OK, REST = (PLAN.graph.index[name] for name in ("paid", "ok", "rest"))
MAX_BYTES = 1000


class _Sender:
    """A client's publisher that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[NodeMessage] = []

    def publish(self, messages: Sequence[Outgoing]) -> None:
        for each in messages:
            message = decode_message(each.body)
            assert isinstance(message, NodeMessage)
            self.sent.append(message)


class Desk:
    """A client's side of a store, and a worker's by hand."""

    def __init__(self, url: str, namespace: str) -> None:
        self.bench = Bench(url, namespace)
        self.publisher = _Sender()
        self.store, self.reader, self.keys = self.bench.store, self.bench.reader, self.bench.keys
        self.plans = Plans(self.reader.flow_body)
        self.large = NOWHERE
        parts = cast(ClientParts, self)
        self.signals = Signalling(parts, MAX_BYTES)
        self.reopening = Reopening(parts)
        self.bench.admit(PLAN, params={"what": "it"})

    def signal(self, payload: Any = None, id_: str | None = None, by: str = "shop", name: str = "payment") -> bool:
        return self.signals.signal("r1", name, {"amount": 5} if payload is None else payload, by, id_)

    def decide(self, approved: bool, by: str = "boss", comment: str = "") -> bool:
        return self.signals.decide("r1", "ok", approved, Who(by, comment))

    def park(self, node: int, cause: str = "signal", delay_seconds: float = LONGEST_PARK_SECONDS) -> int:
        """As a worker that finds nothing to go on with; the token of the claim."""
        token = self.bench.claim(PLAN, node, token=self.token(node)).token
        parked = {"delay_seconds": delay_seconds, "counts": False, "cause": cause, "output": b""}
        assert self.bench.settle(PLAN, node, token, "retrying", **parked).word is Word.RETRYING
        return token

    def token(self, node: int) -> int:
        record = self.bench.record().nodes.get(node)
        return record.token if record else 1

    def state(self, node: int) -> str:
        return str(self.bench.record().nodes[node].state)

    def pay(self) -> None:
        """The signal comes, and a worker ends its node."""
        self.signal()
        claim = self.bench.claim(PLAN, PAID, token=self.token(PAID))
        self.bench.settle(PLAN, PAID, claim.token, output=claim.fields[-1])

    def explain(self, node: str) -> NodeExplanation:
        [explained] = Explainer(cast(ClientParts, self)).explain("r1", node, None).nodes
        return explained

    def refused(self, act: Callable[[], object], error: type[Exception]) -> str:
        """What is said to who is refused; nothing has changed."""
        before = self.bench.record()
        with pytest.raises(error) as caught:
            act()
        assert self.bench.record() == before
        return str(caught.value)


@pytest.fixture(params=("redis_url", "valkey_url", "redis_cluster_url"))
def desk(request: pytest.FixtureRequest, namespace: str) -> Iterator[Desk]:
    desk = Desk(request.getfixturevalue(request.param), namespace)
    yield desk
    desk.bench.link.close()


def test_a_signal_wakes_what_is_parked_and_its_message_is_sent(desk: Desk) -> None:
    desk.park(PAID)
    assert (desk.state(PAID), desk.bench.timers()) == ("retrying", {NodeKey("r1", PAID)})
    assert desk.signal({"amount": 5})
    assert (desk.state(PAID), desk.bench.timers()) == ("ready", set())
    [message] = desk.publisher.sent
    claim = desk.bench.claim(PLAN, PAID, token=message.token)
    assert (message.node, claim.word, claim.attempt) == (PAID, Word.CLAIMED, 1)
    signal, payload = claim.fields[-2:]
    assert signal is not None
    assert payload == pack({"amount": 5})
    assert unpack(signal)[1] == "shop"


def test_a_signal_that_nobody_publishes_is_found_by_the_keeper(desk: Desk) -> None:
    desk.park(PAID)
    assert desk.bench.signal(PAID).word is Word.SIGNALLED
    assert NodeKey("r1", PAID) in desk.bench.housekeeping.overdue("default", desk.bench.housekeeping.time() + 1, 10)
    assert desk.bench.redrive(PAID).word is Word.REDRIVE


def test_an_early_signal_is_kept_and_found_by_its_claim(desk: Desk) -> None:
    assert desk.signal()
    assert desk.publisher.sent == []
    assert desk.explain("paid").reasons[-1].startswith("its signal came")
    assert desk.bench.claim(PLAN, PAID).fields[-1] == pack({"amount": 5})


def test_a_signal_takes_a_node_from_who_claimed_it_before(desk: Desk) -> None:
    token = desk.bench.claim(PLAN, PAID).token
    assert desk.signal()
    parked = {"delay_seconds": 60.0, "counts": False, "cause": "signal", "output": b""}
    assert desk.bench.settle(PLAN, PAID, token, "retrying", **parked).word is Word.STALE
    assert desk.bench.settle(PLAN, PAID, token, "failed").word is Word.STALE
    [message] = desk.publisher.sent
    claim = desk.bench.claim(PLAN, PAID, token=message.token)
    assert (claim.attempt, claim.token, claim.fields[-1]) == (1, token + 2, pack({"amount": 5}))


def test_a_signal_that_is_sent_twice_counts_once(desk: Desk) -> None:
    desk.park(PAID)
    assert desk.signal({"amount": 1}, "pay-1")
    assert not desk.signal({"amount": 2}, "pay-1")
    assert desk.bench.record().payloads[PAID] == pack({"amount": 1})
    # Whoever repeats it may be the one whose message was not published.
    assert [message.token for message in desk.publisher.sent] == [desk.token(PAID)] * 2
    said = desk.refused(lambda: desk.signal({"amount": 3}, "pay-2", by="other"), RunStateError)
    assert said == "run 'r1' has had a signal for its node 'paid' before, from shop; the first one counts"


def test_a_signal_is_the_same_when_its_node_has_ended(desk: Desk) -> None:
    desk.signal(id_="pay-1")
    claim = desk.bench.claim(PLAN, PAID)
    desk.bench.settle(PLAN, PAID, claim.token)
    assert not desk.signal(id_="pay-1")
    assert desk.publisher.sent == []
    said = desk.refused(lambda: desk.signal(id_="pay-2"), RunStateError)
    assert said == "run 'r1' goes on, but its node 'paid' has ended, and waits for nothing any more"


def test_what_does_not_fit_is_refused_and_changes_nothing(desk: Desk) -> None:
    wrong = desk.refused(lambda: desk.signal({"amount": "5"}), UsageError)
    assert wrong.startswith("the payload does not keep to the schema of signal 'payment': amount: '5' is not of type")
    large = desk.refused(lambda: desk.signal({"amount": 5, "note": "x" * MAX_BYTES}), TooLargeError)
    assert "limits.max_value_bytes allows 1000" in large
    assert "not usable" in desk.refused(lambda: desk.signal(id_="no good"), UsageError)
    assert desk.signal()


def test_what_waits_for_nothing_is_told_apart(desk: Desk) -> None:
    unknown = desk.refused(lambda: desk.signal(name="paymant"), UsageError)
    assert unknown == "run 'r1' has no node that waits for 'paymant'; did you mean 'payment'?"
    assert "waits for no signal" in desk.refused(lambda: desk.signal(name="ship"), UsageError)
    assert "waits for no signal" in desk.refused(lambda: desk.signal(name="rest"), UsageError)
    decision = desk.refused(lambda: desk.signal(name="ok"), UsageError)
    assert "waits for a decision: `taskmesh approve r1 ok`" in decision
    signal = desk.refused(lambda: desk.signals.decide("r1", "paid", True, Who("boss")), UsageError)
    assert "waits for a signal, not for a decision: `taskmesh signal r1 paid`" in signal
    with pytest.raises(RunNotFoundError):
        desk.signals.signal("r2", "payment", {"amount": 5}, "shop")


@pytest.mark.parametrize("end", ["terminate", "halt"])
def test_an_ended_run_takes_no_signal(desk: Desk, end: str) -> None:
    if end == "terminate":
        desk.bench.controls.terminate_runs([("r1", PLAN.hash)])
    else:
        desk.bench.halt("r1", "cancelled")
        for node in (PAID, REST, PLAN.graph.index["ship"]):
            desk.bench.run_through(PLAN, node, "cancelled")
    status = "terminated" if end == "terminate" else "cancelled"
    said = desk.refused(desk.signal, RunStateError)
    assert said == f"run 'r1' has ended: {status}; `taskmesh retry r1` lets it go on"


def test_a_decision_is_kept_with_who_when_and_why(desk: Desk) -> None:
    desk.pay()
    desk.park(OK)
    asked = desk.explain("ok")
    assert asked.reasons[0] == "waits for somebody's decision, without end"
    assert asked.reasons[-2:] == ("it asks: Ship it?", "`taskmesh approve r1 ok` or `taskmesh reject r1 ok` decides")
    assert (asked.event, asked.until) == ("signal", None)
    assert desk.decide(False, comment="too much")
    assert not desk.decide(False, comment="again")
    changed = desk.refused(lambda: desk.decide(True), RunStateError)
    assert "from boss; the first one counts" in changed
    assert "from boss" in desk.refused(lambda: desk.decide(False, by="other"), RunStateError)
    [details] = [node for node in run_details(desk.bench.record(), PLAN).nodes if node.name == "ok"]
    assert details.signal is not None
    assert (details.signal.by, details.signal.verdict, details.signal.comment) == ("boss", "rejected", "too much")
    assert abs(details.signal.at - desk.bench.housekeeping.time()) < 600
    assert desk.explain("ok").reasons[-1].startswith("rejected by boss")
    signals = [event for event in run_history(desk.bench.record(), PLAN) if event.kind == "signal"]
    assert [(event.node, event.by, event.why) for event in signals] == [
        ("paid", "shop", ""),
        ("ok", "boss", "rejected: too much"),
    ]


def test_waits_are_explained(desk: Desk) -> None:
    desk.park(PAID, delay_seconds=3600.0)
    desk.park(REST, "sleep", 7200.0)
    opened = desk.bench.record().nodes[PAID].scheduled_at
    paid, rest = desk.explain("paid"), desk.explain("rest")
    assert paid.reasons[0].startswith("waits for a signal 'payment', for ")
    assert paid.reasons[1] == "then its output is its default"
    assert paid.reasons[-1] == "`taskmesh signal r1 payment --payload JSON` sends it"
    assert (paid.event, paid.until) == ("signal", opened + 3600.0)
    assert rest.reasons[0].startswith("sleeps, and goes on in ")
    assert (rest.event, rest.attempt) == ("timer", 0)
    assert desk.explain("ok").reasons[0] == "waits for paid (retrying)"
    desk.bench.housekeeping.forget_timer(NodeKey("r1", PAID))
    assert "its timer is lost; the keeper sets it again" in desk.explain("paid").reasons


def test_a_paused_run_keeps_what_comes_until_it_is_resumed(desk: Desk) -> None:
    desk.park(PAID)
    desk.bench.controls.pause_runs(["r1"])
    assert desk.signal()
    assert desk.bench.claim(PLAN, PAID, token=desk.token(PAID)).word is Word.PAUSED
    desk.bench.controls.resume_runs([("r1", PLAN.hash)])
    assert desk.bench.claim(PLAN, PAID, token=desk.token(PAID)).fields[-1] == pack({"amount": 5})


def test_what_was_rejected_is_asked_again_when_the_run_is_retried(desk: Desk) -> None:
    desk.pay()
    desk.decide(False, comment="too much")
    claim = desk.bench.claim(PLAN, OK)
    desk.bench.settle(PLAN, OK, claim.token, "failed", halt="failed")
    for node in (REST, PLAN.graph.index["ship"]):
        desk.bench.run_through(PLAN, node, "cancelled")
    [verdict] = desk.reopening.retry(["r1"], Who("me"))
    assert verdict.accepted()
    record = desk.bench.record()
    # What was heard stays heard where its node has succeeded, and counts no more where it is asked again.
    assert (record.nodes[PAID].state, set(record.signals)) == ("succeeded", {PAID})
    assert record.nodes[OK].state == "ready"
    desk.park(OK)
    assert desk.decide(True, comment="now it is")
    heard = [event.why for event in run_history(desk.bench.record(), PLAN) if event.kind == "signal"]
    assert heard == ["", "rejected: too much", "approved: now it is"]


def test_an_early_signal_that_nobody_heard_counts_when_the_run_is_retried(desk: Desk) -> None:
    assert desk.decide(True, comment="beforehand")
    desk.bench.halt("r1", "cancelled")
    for node in (PAID, REST, PLAN.graph.index["ship"]):
        desk.bench.run_through(PLAN, node, "cancelled")
    [verdict] = desk.reopening.retry(["r1"], Who("me"))
    assert verdict.accepted()
    desk.pay()
    assert unpack(desk.bench.claim(PLAN, OK, token=desk.token(OK)).fields[-1] or b"") == [True, "beforehand"]


def test_many_waits_with_far_timers_are_no_work_for_anybody(desk: Desk) -> None:
    """They are not among what is looked at before they are due."""
    desk.park(PAID)
    desk.park(REST, "sleep", LONGEST_PARK_SECONDS)
    soon = desk.bench.housekeeping.time() + 86_400.0
    assert desk.bench.housekeeping.timers(soon, 10) == []
    overdue = desk.bench.housekeeping.overdue("default", soon, 10)
    assert not {NodeKey("r1", PAID), NodeKey("r1", REST)} & set(overdue)
