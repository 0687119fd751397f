"""Nodes that wait for events: what a flow may say of them, in both faces, and how events and nodes find each other."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from taskmesh import Mesh, UsageError, load_flow
from taskmesh.dispatch.plan import Plan
from taskmesh.errors import EventError, FlowError
from taskmesh.flows import dump_flow
from taskmesh.flows.schema import flow_schema
from taskmesh.model.events.on_event import InboundEvent
from taskmesh.model.events.waits import (
    MAX_PATHS,
    Awaited,
    EventWait,
    awaited_by,
    key_of_event,
    key_of_match,
    takes,
)
from taskmesh.model.flow import Node
from taskmesh.model.waiting import Default, place_of_signal
from taskmesh.wire import unpack
from taskmesh.wire.flows import EVENT_WAIT_SCHEMA, decode_flow, encode_flow

ORDER = """\
flow: order
params: {order_id: string}
nodes:
  ask: {task: ask, args: {order_id: "${params.order_id}"}}
  paid:
    wait: event
    event: payment.received
    match: {customer.kind: 5, order_id: "${params.order_id}", request.0: "${nodes.ask.output}"}
    filter: event.data.amount > 0
    keep: 1h
    payload: {type: object, required: [amount]}
    timeout: 2d
    default: {amount: 0}
"""
SCHEMA = {"type": "object", "required": ["amount"]}
STEP = EventWait(
    "", SCHEMA, 2 * 86_400.0, Default({"amount": 0}), "payment.received", "event.data.amount > 0", keep_seconds=3600.0
)


def event(data: Any, type_: str = "paid", event_id: str = "e-1", source: str = "") -> InboundEvent:
    return InboundEvent(type_, event_id, source, data)


def test_a_file_says_which_event_a_node_waits_for() -> None:
    flow = load_flow(ORDER, "order.yaml")
    paid = flow.nodes[1]
    assert (paid.step, paid.needs, paid.label) == (STEP, ("ask",), "wait")
    assert list(paid.args) == ["customer.kind", "order_id", "request.0"]
    assert load_flow(dump_flow(flow), "again.yaml") == flow
    assert decode_flow(encode_flow(flow)) == flow
    assert unpack(encode_flow(flow))[0] == EVENT_WAIT_SCHEMA
    assert place_of_signal(flow.nodes, "paid") == 1


def test_both_faces_say_the_same() -> None:
    mesh = Mesh()
    ask = mesh.task(name="ask")(lambda order_id: order_id)

    @mesh.flow(version="1")
    def order(order_id: str) -> Any:
        match = {"customer.kind": 5, "order_id": order_id, "request.0": ask(order_id)}
        return mesh.wait_event(
            "paid",
            "payment.received",
            match=match,
            filter="event.data.amount > 0",
            keep=3600,
            payload=SCHEMA,
            timeout=2 * 86_400,
            default={"amount": 0},
        )

    assert order.compile().nodes == load_flow(ORDER, "order.yaml").nodes
    assert encode_flow(replace(order.compile(), result=None)) == encode_flow(load_flow(ORDER, "order.yaml"))


@pytest.mark.parametrize(
    ("event", "options"),
    [
        (5, {}),
        ("paid", {"match": ["order_id"]}),
        ("paid", {"filter": None}),
        ("paid", {"keep": None}),
        ("paid", {"keep": "1h"}),
        ("paid", {"timeout": "1h"}),
    ],
)
def test_what_the_python_face_cannot_take_is_refused(event: Any, options: dict[str, Any]) -> None:
    mesh = Mesh()

    def flow() -> Any:
        return mesh.wait_event("paid", event, **{"match": {}, **options})

    with pytest.raises(UsageError, match=r"takes two texts, a mapping as match|must be a number of seconds"):
        mesh.flow(flow).compile()
    with pytest.raises(UsageError, match=r"is for functions with @mesh.flow"):
        flow()


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ("{wait: event}", "f.yaml:3:6: node 'a': the key 'event' is missing"),
        ("{wait: event, event: x}", "the key 'match' is missing; where any event of the type will do, write match: {}"),
        ("{event: x, match: {}}", "'event' needs 'wait: event' beside it"),
        ("{wait: signal, event: x, match: {}}", "'event' needs 'wait: event' beside it"),
        ("{wait: event, event: x y, match: {}}", "f.yaml:3:27: node 'a': the type of an event must be 1-255 printable"),
        ("{wait: event, event: '', match: {}}", "event is empty"),
        ("{wait: event, event: x, match: [a]}", "match must map paths to values"),
        ("{wait: event, event: x, match: {a b: 1}}", "f.yaml:3:43: node 'a': 'a b' is no path in the data of an event"),
        ("{wait: event, event: x, match: {a..b: 1}}", "'a..b' is no path"),
        ("{wait: event, event: x, match: {a: null}}", "the value for 'a' must be a text, a number, true or false"),
        ("{wait: event, event: x, match: {a: [1]}}", "the value for 'a' must be a text, a number, true or false"),
        ("{wait: event, event: x, match: {a: .inf}}", "the value for 'a' must be a text, a number, true or false"),
        ("{wait: event, event: x, match: {a: '${nodes.b.output}'}}", "it refers to 'b', which is no node of this flow"),
        ("{wait: event, event: x, match: {a: '${event.id}'}}", "'${event.id}' is not a reference"),
        ("{wait: event, event: x, match: {}, filter: params.x > 1}", "the filter uses 'params', which means nothing"),
        ("{wait: event, event: x, match: {}, filter: 'event.data >'}", "f.yaml:3:49: node 'a': the filter is no CEL"),
        ("{wait: event, event: x, match: {}, keep: 2d}", "keep must be 0 to 86400 seconds (1 day), not 172800"),
        ("{wait: event, event: x, match: {}, keep: soon}", "keep must be a number of seconds"),
        ("{wait: event, event: x, match: {}, timeout: 0}", "timeout must be more than 0"),
        ("{wait: event, event: x, match: {}, default: 1}", "'default' needs a 'timeout'"),
        ("{wait: event, event: x, match: {}, payload: {type: colour}}", "payload is no JSON Schema"),
        ("{wait: event, event: x, match: {}, signal: y}", "there is no key 'signal' here"),
        (f"{{wait: event, event: x, match: {{{', '.join(f'k{at}: 1' for at in range(9))}}}}}", "match names 9 paths"),
    ],
)
def test_what_is_wrong_is_told_where_it_is(node: str, said: str) -> None:
    with pytest.raises(FlowError) as caught:
        load_flow(f"flow: f\nnodes:\n  a: {node}\n", "f.yaml")
    assert said in "\n".join(caught.value.problems)


def test_as_much_may_be_matched_as_the_limit_says() -> None:
    match = {f"k{at}": at for at in range(MAX_PATHS)}
    [node] = load_flow(f"flow: f\nnodes: {{a: {{wait: event, event: x, match: {match}}}}}", "f.yaml").nodes
    assert node.args == match


def test_the_schema_knows_waits_for_events() -> None:
    validator = Draft202012Validator(flow_schema())

    def is_valid(**node: Any) -> bool:
        return bool(validator.is_valid({"flow": "f", "nodes": {"a": node}}))

    assert is_valid(wait="event", event="x", match={"a.b": "${params.x}"}, filter="true", keep=0, timeout="1d")
    assert is_valid(wait="event", event="x", match={})
    assert not is_valid(wait="event", event="x")
    assert not is_valid(wait="event", match={})
    assert not is_valid(event="x", match={})
    assert not is_valid(wait="signal", event="x", match={})
    assert not is_valid(wait="event", event="x", match={"a": None})
    assert not is_valid(wait="event", event="x", match={}, keep=86_401)


def test_a_flow_without_them_keeps_its_bytes() -> None:
    flow = load_flow("flow: f\nnodes: {a: {wait: signal}}", "f.yaml")
    assert unpack(encode_flow(flow))[0] < EVENT_WAIT_SCHEMA


def test_a_plan_knows_what_its_runs_wait_for_at_any_depth() -> None:
    text = """
flow: outer
nodes:
  paid: {wait: event, event: paid, match: {b: 1, a: 2}}
  again: {wait: event, event: paid, match: {a: 3, b: 4}}
  inner: {flow: {nodes: {sent: {wait: event, event: sent, match: {}, keep: 0}}}}
  loop: {repeat_until: "true", max_iterations: 2, flow: {nodes: {l: {wait: event, event: looped, match: {}}}}}
  each: {map: [1], flow: {nodes: {m: {wait: event, event: mapped, match: {}}}}}
"""
    plan = Plan.of(load_flow(text, "f.yaml"))
    assert set(plan.awaited) == {
        Awaited("paid", ("a", "b"), 600.0),
        Awaited("sent", (), 0.0),
        Awaited("looped", (), 600.0),
        Awaited("mapped", (), 600.0),
    }
    assert Plan.of(load_flow("flow: f\nnodes: {a: {wait: signal}}", "f.yaml")).awaited == ()


DATA = {"id": "o-1", "customer": {"kind": 5}, "items": [{"sku": "a"}, {"sku": "b"}], "open": True, "note": None}


@pytest.mark.parametrize(
    "match",
    [
        {},
        {"id": "o-1"},
        {"customer.kind": 5},
        {"customer.kind": 5.0},
        {"items.1.sku": "b", "id": "o-1"},
        {"id": "o-1", "items.-1.sku": "b"},
        {"open": True},
    ],
)
def test_an_event_and_a_node_with_the_same_values_have_the_same_key(match: dict[str, Any]) -> None:
    awaited = awaited_by(Node("a", "", match, step=EventWait(event="paid")))
    assert awaited is not None
    assert key_of_event(event(DATA), awaited.paths) == key_of_match("paid", match)


@pytest.mark.parametrize(
    "match",
    [
        {"id": "o-2"},
        {"customer.kind": "5"},
        {"customer.kind": True},
        {"open": 1},
        {"open": "True"},
        {"customer": "{'kind': 5}"},
        {"items": "a"},
        {"note": "None"},
        {"other": "x"},
        {"id.x": "x"},
        {"items.7": "x"},
    ],
)
def test_others_have_another_or_none(match: dict[str, Any]) -> None:
    paths = tuple(sorted(match))
    assert key_of_event(event(DATA), paths) != key_of_match("paid", match)
    assert key_of_event(event(DATA, "sent"), ()) != key_of_match("paid", {})


@pytest.mark.parametrize("data", [None, [], "text", 5, {"id": None}, {"id": math.nan}, {"id": math.inf}, {"id": ["x"]}])
def test_an_event_without_a_value_that_can_be_asked_for_has_no_key(data: Any) -> None:
    assert key_of_event(event(data), ("id",)) is None
    assert key_of_event(event(data), ()) == key_of_match("paid", {})


def test_values_cannot_be_shifted_from_one_path_to_another() -> None:
    keys = [
        key_of_match("paid", match) for match in ({"a": "b"}, {"a": "btext ", "b": ""}, {"ab": ""}, {"a": "", "b": ""})
    ]
    assert len(set(keys)) == len(keys)
    assert key_of_match("paid", {"a": 1, "b": 2}) == key_of_match("paid", {"b": 2, "a": 1})
    assert key_of_match("paid", {"a": 1, "b": 2}) != key_of_match("paid", {"a": 2, "b": 1})


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "null"), ([True], "[true]"), ({"a": None}, '{"a": null}'), (math.nan, "NaN"), (b"x", "b'x'")],
)
def test_what_nothing_can_equal_cannot_be_waited_for(value: Any, shown: str) -> None:
    said = f"what is matched with 'id' must be a text, a number, true or false, not {shown}"
    with pytest.raises(EventError, match=f"^{re.escape(said)}$"):
        key_of_match("paid", {"id": value})


def test_a_filter_and_a_schema_decide_about_an_event() -> None:
    assert takes(EventWait(event="paid"), event(None))
    assert takes(STEP, event({"amount": 1}))
    assert not takes(STEP, event({"amount": 0}))
    assert takes(EventWait(event="paid", filter="event.source == 'bank' && event.id != ''"), event(1, source="bank"))


@pytest.mark.parametrize(
    ("step", "data", "said"),
    [
        (STEP, {}, "'event.data.amount > 0' cannot be evaluated"),
        (STEP, {"amount": "much"}, "cannot be evaluated"),
        (EventWait(event="x", filter="event.data"), 5, "'event.data' is not true or false"),
        (
            EventWait(event="x", payload=SCHEMA),
            {"sum": 5},
            "do not keep to its schema: 'amount' is a required property",
        ),
    ],
)
def test_an_event_that_lacks_what_is_asked_for_is_refused(step: EventWait, data: Any, said: str) -> None:
    with pytest.raises(EventError, match=said):
        takes(step, event(data))
