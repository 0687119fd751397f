"""Events that begin runs: what a flow may say of them, what it makes of one, and what is no event."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from taskmesh import Mesh, UsageError, load_flow
from taskmesh.broker.protocol import AckToken, Delivery
from taskmesh.clock import ManualClock
from taskmesh.dispatch.dispatcher import Dispatcher
from taskmesh.dispatch.events.runs import Arrival
from taskmesh.errors import EventError, FlowError, StoreUnavailableError, TooLargeError, WireError
from taskmesh.flows import dump_flow
from taskmesh.flows.schema import flow_schema
from taskmesh.model.differences import differences
from taskmesh.model.events.on_event import InboundEvent, OnEvent
from taskmesh.model.events.on_event_rules import Reaction
from taskmesh.model.subflows import Subflow
from taskmesh.observability.tally import Tally
from taskmesh.wire import pack
from taskmesh.wire.flows import decode_flow, encode_flow
from taskmesh.wire.inbound_events import MAX_DEPTH, decode_inbound
from taskmesh.worker.engine import event_intake
from taskmesh.worker.engine.event_intake import EventIntake
from taskmesh.worker.letters.burying import DeadLetters
from tests.unit.engine_bench import FakeBroker

FILE = """
flow: order
params: {order_id: string, note: {type: string, default: none}}
on:
  event: order.created
  when: event.data.amount > 10
  params: {order_id: "${event.data.id}"}
  dedup: "${event.data.id}"
nodes:
  charge: {task: charge, args: {id: "${params.order_id}"}}
"""
ON = OnEvent("order.created", "event.data.amount > 10", {"order_id": "${event.data.id}"}, "${event.data.id}")
LIMIT = 10_000


def event(event_id: str = "e-1", type_: str = "order.created", source: str = "shop", **data: Any) -> InboundEvent:
    return InboundEvent(type_, event_id, source, {"id": "o-1", "amount": 11, **data})


def test_a_flow_file_says_which_events_begin_its_runs() -> None:
    flow = load_flow(FILE, "order.yaml")
    assert flow.on == ON
    assert load_flow(dump_flow(flow), "again.yaml") == flow
    assert decode_flow(encode_flow(flow)) == flow


def test_a_flow_without_events_keeps_its_bytes() -> None:
    flow = replace(load_flow(FILE, "order.yaml"), on=None)
    assert encode_flow(flow)[1] == 1


def test_a_python_flow_says_it_in_the_same_words() -> None:
    mesh = Mesh()
    task = mesh.task(name="charge")(lambda id: id)

    @mesh.flow(on={"event": "order.created", "params": {"order_id": "${event.data.id}"}})
    def order(order_id: str) -> Any:
        return task(order_id)

    assert order.compile().on == OnEvent("order.created", "", {"order_id": "${event.data.id}"})

    @mesh.flow
    def outer() -> Any:
        return order("o-1")

    [node] = outer.compile().nodes
    assert isinstance(node.step, Subflow)
    assert node.step.inline is not None
    assert node.step.inline.on is None


@pytest.mark.parametrize(
    ("on", "sentence"),
    [
        ({"events": "x"}, "no key 'events'; did you mean 'event'"),
        ({}, "must name the type"),
        ({"event": 5}, "event of on must be a str, not 5"),
        ({"event": "x", "params": ["a"]}, "params of on must be a mapping"),
    ],
)
def test_a_python_flow_that_says_something_else_is_refused(on: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Mesh().flow(on=on)(lambda: None)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("when:", "wen:", r"order.yaml:6:3: .*there is no key 'wen' here"),
        ("event: order.created", "dedup_by: x", "the key 'event' is missing"),
        ("order.created", '"order created"', "order.yaml:5.*printable ASCII"),
        ("event.data.amount > 10", '"event.data.amount >"', "order.yaml:6.*is no CEL"),
        ("event.data.amount > 10", "params.amount > 10", "order.yaml:6.*uses 'params', which means nothing here"),
        ("event.data.amount > 10", "event.amount > 10", "order.yaml:6.*asks for event.amount; write event.data.KEY"),
        ("event.data.amount > 10", 'event["dat"] == 1', "order.yaml:6.*asks for event.dat; write"),
        ("${event.data.id}", "${params.order_id}", r"order.yaml:7.*is not a reference; write \$\{event.data.KEY\}"),
        ("${event.data.id}", "${event.body}", "order.yaml:7.*is not a reference"),
        ('{order_id: "${event.data.id}"}', "{order: 1}", "order.yaml:7.*no parameter 'order'; did you mean 'order_id'"),
        ('{order_id: "${event.data.id}"}', "{}", "'order_id' of the flow gets no value from the event"),
        ('"${event.data.id}"}', "7}", "order.yaml:7.*parameter 'order_id' must be a string, not 7 .integer."),
        ('{order_id: "${event.data.id}"}', "[]", "params must map names to values"),
        ('dedup: "${event.data.id}"', "dedup: same", "order.yaml:8.*one run would be all that ever begins"),
    ],
)
def test_a_flow_file_that_is_wrong_is_refused_with_its_place(old: str, new: str, sentence: str) -> None:
    with pytest.raises(FlowError, match=sentence):
        load_flow(FILE.replace(old, new, 1), "order.yaml")


def test_what_a_condition_calls_the_members_of_a_list_is_no_event() -> None:
    text = FILE.replace("event.data.amount > 10", "event.data.lines.exists(event, event.amount > 10)", 1)
    assert load_flow(text, "order.yaml").on is not None


def test_a_flow_in_a_node_begins_with_no_event() -> None:
    text = "flow: f\nnodes:\n  a: {flow: {nodes: {b: {task: t}}, on: {event: x}}}"
    with pytest.raises(FlowError, match="there is no key 'on' here"):
        load_flow(text, "f.yaml")


def test_the_schema_knows_events() -> None:
    validator = Draft202012Validator(flow_schema())
    flow = {"flow": "f", "nodes": {"a": {"task": "t"}}}
    assert validator.is_valid({**flow, "on": {"event": "x", "when": "true", "params": {}, "dedup": "${event.id}"}})
    assert not validator.is_valid({**flow, "on": {"when": "true"}})
    assert not validator.is_valid({**flow, "on": {"event": "x", "whenever": "true"}})


def test_a_change_of_what_is_said_of_events_is_a_difference() -> None:
    from taskmesh.flows import flow_document

    before, after = load_flow(FILE, "f.yaml"), load_flow(FILE.replace("> 10", "> 20"), "f.yaml")
    [found] = differences(flow_document(before), flow_document(after))
    assert found.path == ("on", "when")


def test_an_event_begins_a_run_under_an_id_of_its_own() -> None:
    reaction = Reaction("order", ON)
    begun = reaction.begun_by(event())
    assert begun is not None
    assert begun.params == {"order_id": "o-1"}
    assert reaction.begun_by(event("e-2", note="again")) == begun
    others = [
        reaction.begun_by(event(id="o-2")),
        reaction.begun_by(event(source="other")),
        Reaction("other", ON).begun_by(event()),
        Reaction("order", replace(ON, dedup="${event.id}")).begun_by(event()),
    ]
    assert len({begun.run_id, *(each.run_id for each in others if each)}) == 5


def test_parts_of_a_key_cannot_be_shifted() -> None:
    reaction = Reaction("order", OnEvent("x"))
    begun = [reaction.begun_by(InboundEvent("x", id_, source, None)) for id_, source in (("bc", "a"), ("c", "ab"))]
    assert len({each.run_id for each in begun if each}) == 2


def test_other_events_begin_nothing() -> None:
    reaction = Reaction("order", ON)
    assert reaction.begun_by(event(type_="order.paid")) is None
    assert reaction.begun_by(event(amount=10)) is None


@pytest.mark.parametrize(
    ("on", "data", "sentence"),
    [
        (ON, None, "'event.data.amount > 10' cannot be evaluated"),
        (ON, {"amount": "11"}, "cannot be evaluated"),
        (replace(ON, when="event.data.amount"), {"amount": 1}, "is not true or false"),
        (replace(ON, when=""), {}, r"\$\{event.data.id\} cannot be resolved"),
        (replace(ON, when="", params={}), {"id": [1]}, "dedup gives a list"),
        (replace(ON, when="", params={}), {"id": True}, "dedup gives a bool"),
    ],
)
def test_an_event_that_lacks_what_is_asked_for_is_refused(on: OnEvent, data: Any, sentence: str) -> None:
    with pytest.raises(EventError, match=f"flow 'order': .*{sentence}"):
        Reaction("order", on).begun_by(InboundEvent("order.created", "1", "", data))


FIELDS = {"type": "order.created", "id": "1", "source": "shop", "data": {"id": "o-1"}}
CLOUD = {**FIELDS, "specversion": "1.0", "time": "2026-11-30T00:00:00Z", "tenant": "acme"}


@pytest.mark.parametrize(
    "body",
    [json.dumps(FIELDS).encode(), b"\n " + json.dumps(FIELDS).encode(), pack(FIELDS), json.dumps(CLOUD).encode()],
)
def test_an_event_is_json_msgpack_or_a_cloud_event(body: bytes) -> None:
    assert decode_inbound(body, LIMIT) == InboundEvent("order.created", "1", "shop", {"id": "o-1"})


DEEP = b'{"type": "x", "id": "1", "data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
TOO_DEEP = b'{"type": "x", "id": "1", "data": ' + b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1) + b"}"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "is no JSON"),
        (b"{", "is no JSON"),
        (b"[1]", "must be an object"),
        (b"\xff\x00", "not a msgpack value"),
        (b"\xc1", "not a msgpack value"),
        (pack([1]), "must be an object"),
        (b'{"id": "1"}', "has no 'type'"),
        (b'{"type": "x"}', "has no 'id'"),
        (b'{"type": "x", "id": ""}', "the id of an event"),
        (b'{"type": "x", "id": 5}', "the id of an event"),
        (b'{"type": "x y", "id": "1"}', "printable ASCII"),
        (b'{"type": "x\\n", "id": "1"}', "printable characters"),
        (b'{"type": ["x"], "id": "1"}', "the type of an event"),
        (b'{"type": "x", "id": "1", "source": null}', "the source of an event"),
        (b'{"type": "x", "id": "1", "date": 1}', "has no key 'date'"),
        (b'{"type": "x", "id": "1", "specversion": "0.3"}', "of version '0.3'"),
        (b'{"type": "x", "id": "1", "specversion": "1.0", "data_base64": "AA=="}', "binary data"),
        (b'{"type": "x", "id": "1", "data": NaN}', "is no JSON: NaN"),
        (b'{"type": "x", "id": "1", "data": ' + b"1" * 5000 + b"}", "is no JSON"),
        (b'{"type": "x", "id": "1", "data": "\\ud800"}', "is no UTF-8"),
        (b'{"type": "x", "id": "\xff"}', "is no JSON"),
        (TOO_DEEP, "nested deeper"),
        (pack({"type": "x", "id": "1", "data": {5: 1}}), "is no text"),
        (pack({1: 2, "type": "x", "id": "1"}), "has no key 1"),
    ],
)
def test_what_is_no_event_is_refused_with_a_sentence(body: bytes, sentence: str) -> None:
    with pytest.raises(WireError, match=sentence):
        decode_inbound(body, LIMIT)


def test_what_is_too_deep_to_be_read_is_refused() -> None:
    with pytest.raises(WireError):
        decode_inbound(DEEP, len(DEEP))


def test_an_event_is_not_decoded_where_it_is_too_large() -> None:
    with pytest.raises(TooLargeError, match="10001 bytes"):
        decode_inbound(b"{" * (LIMIT + 1), LIMIT)


class FakeRuns:
    """Begins a run for each event, unless it is away or the event's id is ``bad``."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self.admitted: list[str] = []

    def admit(self, events: list[InboundEvent]) -> list[Arrival]:
        if self.failures:
            raise self.failures.pop()
        self.admitted += [each.id for each in events]
        return [Arrival(refusals=["it is bad"] if each.id == "bad" else []) for each in events]


class IntakeBench:
    def __init__(self) -> None:
        self.runs = FakeRuns()
        self.broker = FakeBroker()
        self.tally = Tally()
        runs: Any = self.runs
        unused: Any = None
        letters = DeadLetters(unused, self.broker, self.broker, self.tally, "me", ManualClock())
        parts: Any = SimpleNamespace(
            dispatcher=Dispatcher(self.broker),
            consumer=self.broker,
            dead_letters=letters,
            tally=self.tally,
            max_value_bytes=LIMIT,
        )
        self.intake = EventIntake(runs, parts)

    def receive(self, number: int, body: bytes, generation: int = 1) -> AckToken:
        token = AckToken(generation, number)
        self.broker.unacked[token] = body
        self.intake.on_event(Delivery(body, "ns.events.in", False, token))
        return token

    def send(self, number: int, event_id: str, generation: int = 1) -> AckToken:
        return self.receive(number, pack({"type": "x", "id": event_id}), generation)

    async def settled(self) -> None:
        async with asyncio.timeout(30):
            while self.intake._task is not None:
                await asyncio.sleep(0)


def play(test: Callable[[IntakeBench], Any]) -> None:
    async def within() -> None:
        await test(IntakeBench())

    asyncio.run(within())


def test_an_event_is_acked_when_its_runs_are_admitted() -> None:
    async def test(bench: IntakeBench) -> None:
        tokens = [bench.send(number, f"e-{number}") for number in range(3)]
        assert bench.broker.acked == []
        await bench.settled()
        assert bench.broker.acked == tokens
        assert bench.runs.admitted == ["e-0", "e-1", "e-2"]

    play(test)


def test_what_cannot_be_used_is_a_dead_letter_with_its_reason() -> None:
    async def test(bench: IntakeBench) -> None:
        bench.receive(1, b"{" * (LIMIT + 1))
        bench.receive(2, b"hello")
        bench.send(3, "bad")
        good = bench.send(4, "good")
        await bench.settled()
        assert good in bench.broker.acked
        assert {each.queue for each in bench.broker.direct} == {"ns.events.dead"}
        reasons = [each.headers["taskmesh-reason"] for each in bench.broker.direct]
        assert reasons == [event_intake.TOO_LARGE, event_intake.UNREADABLE, event_intake.REFUSED]
        assert bench.broker.direct[2].headers["taskmesh-detail"] == "it is bad"

    play(test)


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_intake, "AGAIN_SECONDS", 0.0)


@pytest.mark.usefixtures("_at_once")
def test_events_wait_for_a_store_that_is_away_and_are_not_given_back() -> None:
    """Each time that they come again would count against the delivery limit."""

    async def test(bench: IntakeBench) -> None:
        bench.runs.failures = [StoreUnavailableError("away")] * 5
        token = bench.send(1, "e-1")
        await bench.settled()
        assert bench.broker.requeued == []
        assert bench.broker.acked == [token]

    play(test)


@pytest.mark.usefixtures("_at_once")
def test_events_go_back_to_the_queue_where_nobody_knows_why_they_cannot_be_admitted() -> None:
    async def test(bench: IntakeBench) -> None:
        bench.runs.failures = [RuntimeError("a bug")]
        token = bench.send(1, "e-1")
        await bench.settled()
        assert bench.broker.requeued == [token]
        assert (bench.broker.acked, bench.broker.direct) == ([], [])

    play(test)


@pytest.mark.usefixtures("_at_once")
def test_what_came_over_a_connection_that_is_gone_is_left_to_the_next_one() -> None:
    async def test(bench: IntakeBench) -> None:
        bench.send(1, "e-1")
        again = bench.send(1, "e-1", generation=2)
        await bench.settled()
        assert bench.runs.admitted == ["e-1"]
        assert bench.broker.acked == [again]

    play(test)


def test_an_intake_that_stops_gives_back_what_waits() -> None:
    async def test(bench: IntakeBench) -> None:
        first = bench.send(1, "e-1")
        bench.intake.stop()
        second = bench.send(2, "e-2")
        await bench.settled()
        assert bench.broker.requeued == [first, second]
        assert bench.broker.acked == []

    play(test)
