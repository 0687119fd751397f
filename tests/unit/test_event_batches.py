"""Events that are gathered: what a flow may say of that, to which batch an event belongs, and what a run gets of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from taskmesh import Mesh, UsageError, load_flow
from taskmesh.dispatch.entrance import Submission, entrance_of
from taskmesh.dispatch.events.batches import joining_of
from taskmesh.dispatch.plan import Plan
from taskmesh.errors import EventError, FlowError, TooLargeError
from taskmesh.flows import dump_flow
from taskmesh.flows.schema import flow_schema
from taskmesh.model.events.batching import MAX_OPEN_SECONDS, Batching, EventBatch
from taskmesh.model.events.gathering import Gatherer, run_id_of
from taskmesh.model.events.on_event import InboundEvent, OnEvent
from taskmesh.wire.flows import decode_flow, encode_flow

FILE = """
flow: sync
params: {orders: array, customer: {type: string, default: none}}
on:
  event: order.changed
  when: event.data.amount > 10
  debounce: 10s
  max_wait: 1m
  max_batch: 50
  key: "${event.data.customer}"
  params: {orders: "${events}", customer: "${batch.key}"}
nodes:
  sync: {task: sync, args: {orders: "${params.orders}"}}
"""
RULES = Batching(None, 10.0, 60.0, 50, "${event.data.customer}")
LIMIT = 100_000


def event(number: int = 1, source: str = "shop", **data: Any) -> InboundEvent:
    return InboundEvent("order.changed", f"e-{number}", source, {"customer": "ann", "amount": 11, **data})


def gatherer(batching: Batching = RULES, **changes: Any) -> Gatherer:
    said = {"params": {"orders": "${events}", "customer": "${batch.key}"}, **changes}
    return Gatherer("sync", OnEvent("order.changed", "event.data.amount > 10", **said), batching)


def test_a_flow_file_says_how_events_are_gathered() -> None:
    flow = load_flow(FILE, "sync.yaml")
    assert flow.on is not None
    assert flow.on.batching == RULES
    assert load_flow(dump_flow(flow), "again.yaml") == flow
    assert decode_flow(encode_flow(flow)) == flow
    assert encode_flow(flow)[1] == 13


@pytest.mark.parametrize(
    ("said", "batching"),
    [
        ("window: 60s", Batching(60.0)),
        ("debounce: 0.5", Batching(None, 0.5)),
        ("window: 1h\n  max_batch: 1000", Batching(3600.0, max_batch=1000)),
    ],
)
def test_what_is_not_said_has_defaults_and_comes_back_unsaid(said: str, batching: Batching) -> None:
    text = FILE.replace("debounce: 10s\n  max_wait: 1m\n  max_batch: 50\n", f"{said}\n")
    flow = load_flow(text, "sync.yaml")
    assert flow.on is not None
    assert flow.on.batching == replace(batching, key=RULES.key)
    assert load_flow(dump_flow(flow), "again.yaml") == flow


def test_a_flow_that_gathers_nothing_keeps_its_bytes() -> None:
    flow = load_flow(FILE, "sync.yaml")
    assert flow.on is not None
    plain = replace(flow, on=replace(flow.on, batching=None))
    assert encode_flow(plain)[1] == 12
    assert decode_flow(encode_flow(plain)) == plain


def test_a_python_flow_says_it_in_the_same_words() -> None:
    mesh = Mesh()
    task = mesh.task(name="sync")(lambda orders: orders)
    on = {"event": "order.changed", "debounce": "10s", "max_wait": 60, "max_batch": 50, "key": RULES.key}

    @mesh.flow(on={**on, "params": {"orders": "${events}"}})
    def sync(orders: list[Any]) -> Any:
        return task(orders)

    found = sync.compile().on
    assert found is not None
    assert found.batching == RULES


@pytest.mark.parametrize(
    ("on", "sentence"),
    [
        ({"windows": 5}, "no key 'windows'; did you mean 'window'"),
        ({"window": "soon"}, "window of on must be a number of seconds"),
        ({"window": True}, "window of on must be"),
        ({"window": 5, "max_batch": "5"}, "max_batch of on must be a int, not '5'"),
        ({"window": 5, "max_batch": True}, "max_batch of on must be a int, not True"),
        ({"window": 5, "key": 5}, "key of on must be a str, not 5"),
    ],
)
def test_a_python_flow_that_says_something_else_is_refused(on: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Mesh().flow(on={"event": "x", **on})(lambda: None)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("debounce: 10s", "debounce: soon", "sync.yaml:7.*debounce must be a number of seconds"),
        ("debounce: 10s", "window: 10s", "sync.yaml:8.*max_wait is for debounce alone"),
        ("debounce: 10s", "debounce: 10s\n  window: 5s", "sync.yaml:8.*two ways to close a batch; keep one"),
        ("debounce: 10s", "debounce: 2m", r"sync.yaml:8.*max_wait must not be less than debounce \(120 s\)"),
        ("  debounce: 10s\n", "", "sync.yaml:5.*add window or debounce"),
        ("debounce: 10s\n  max_wait: 1m", "window: 25h", r"sync.yaml:7.*window must be more than 0 and at most 86400"),
        ("debounce: 10s", "debounce: 0", "sync.yaml:7.*debounce must be more than 0"),
        ("max_wait: 1m", "max_wait: 2d", "sync.yaml:8.*max_wait must be more than 0 and at most"),
        ("max_batch: 50", "max_batch: 0", "sync.yaml:9.*max_batch must be 1-1000 events, not 0"),
        ("max_batch: 50", "max_batch: 1001", "sync.yaml:9.*max_batch must be 1-1000 events, not 1001"),
        ("max_batch: 50", "max_batch: many", "sync.yaml:9.*max_batch must be a whole number"),
        ('"${event.data.customer}"', "ann", "sync.yaml:10.*key must refer to the event"),
        (
            '"${event.data.customer}"',
            '"${events.0.id}"',
            r"sync.yaml:10.*is not a reference; write \$\{event.data.KEY\}",
        ),
        ('"${events}"', '"${event.id}"', r"sync.yaml:11.*'\$\{event.id\}' is not a reference; write \$\{events\}"),
        ('"${events}"', '"${events.1.id}"', "sync.yaml:11.*is not a reference"),
        ('"${events}"', '"${events.0.body}"', "sync.yaml:11.*is not a reference"),
        ('"${batch.key}"', '"${batch.number}"', "sync.yaml:11.*is not a reference"),
        ('"${batch.key}"', '"${batch}"', "sync.yaml:11.*is not a reference"),
    ],
)
def test_a_flow_file_that_is_wrong_is_refused_with_its_place(old: str, new: str, sentence: str) -> None:
    with pytest.raises(FlowError, match=sentence):
        load_flow(FILE.replace(old, new, 1), "sync.yaml")


def test_the_schema_knows_batches() -> None:
    validator = Draft202012Validator(flow_schema())
    flow = {"flow": "f", "nodes": {"a": {"task": "t"}}}
    said = {"event": "x", "debounce": "10s", "max_wait": 60, "max_batch": 5, "key": "${event.id}"}
    assert validator.is_valid({**flow, "on": said})
    assert not validator.is_valid({**flow, "on": {"event": "x", "window": "soon"}})
    assert not validator.is_valid({**flow, "on": {"event": "x", "window": 5, "max_batch": 1001}})


@pytest.mark.parametrize(
    ("batching", "stays", "longest"),
    [
        (Batching(60.0), 60, 60),
        (Batching(None, 5.0), 5, 50),
        (Batching(None, 5.0, 7.0), 5, 7),
        (Batching(None, 10_000.0), 10_000, MAX_OPEN_SECONDS),
    ],
)
def test_a_batch_is_open_for_a_bounded_time(batching: Batching, stays: float, longest: float) -> None:
    assert (batching.stays_seconds, batching.longest_seconds) == (stays, longest)


def test_events_of_one_key_belong_together_and_each_is_known_by_itself() -> None:
    found = [
        gatherer().belonging_of(each)
        for each in (event(1), event(2), event(1, customer="bob"), event(1, source="other"))
    ]
    first, second, third, fourth = (each for each in found if each)
    assert first.gathering_id == second.gathering_id == fourth.gathering_id != third.gathering_id
    assert first.mark == third.mark
    assert len({first.mark, second.mark, fourth.mark}) == 3
    assert (first.key, third.key) == ("ann", "bob")
    other = Gatherer("other", OnEvent("order.changed"), RULES).belonging_of(event(1))
    assert other is not None
    assert other.gathering_id != first.gathering_id


def test_without_a_key_all_events_of_a_flow_belong_together() -> None:
    found = [gatherer(Batching(60.0)).belonging_of(each) for each in (event(1), event(1, customer="bob"))]
    assert [each.key for each in found if each] == ["", ""]
    assert len({each.gathering_id for each in found if each}) == 1


def test_other_events_belong_nowhere() -> None:
    assert gatherer().belonging_of(event(amount=10)) is None
    assert gatherer().belonging_of(event()._replace(type="order.paid")) is None


@pytest.mark.parametrize(
    ("customer", "sentence"),
    [
        (["ann"], "key gives a list; it must be a text or integer"),
        (None, "key gives a NoneType"),
        ("x" * 1001, "it must be at most 1000 printable characters"),
        ("\x1b[2J", r"key gives '\\x1b\[2J'; it must be"),
    ],
)
def test_an_event_without_a_usable_key_is_refused(customer: Any, sentence: str) -> None:
    with pytest.raises(EventError, match=sentence):
        gatherer().belonging_of(event(customer=customer))


def test_a_run_gets_the_events_in_their_order_and_what_is_known_of_the_batch() -> None:
    params = {
        "all": "${events}",
        "first": "${events.0.data.amount}",
        "last": "${events.-1.id}",
        "text": "${batch.size} of ${batch.key} since ${batch.opened_at}",
    }
    batch = EventBatch("ann", 5.5, [event(1), event(2, amount=12)])
    found = gatherer(params=params).params_of(batch)
    assert found == {
        "all": [event(1)._asdict(), event(2, amount=12)._asdict()],
        "first": 11,
        "last": "e-2",
        "text": "2 of ann since 5.5",
    }


def test_each_batch_has_a_run_of_its_own() -> None:
    assert len({run_id_of(*each) for each in (("a", "1"), ("a", "2"), ("b", "1"), ("a1", ""))}) == 4


def test_an_event_with_which_alone_no_run_could_begin_is_refused_at_once() -> None:
    flow = load_flow(FILE, "sync.yaml")
    plan = Plan.of(flow)
    with pytest.raises(EventError, match=r"events\.0\.data\.price"):
        joining_of(plan, gatherer(params={"orders": "${events}", "customer": "${events.0.data.price}"}), event(), LIMIT)
    with pytest.raises(FlowError, match="'customer' must be a string, not 1"):
        joining_of(plan, gatherer(params={"orders": "${events}", "customer": "${batch.size}"}), event(), LIMIT)
    with pytest.raises(TooLargeError, match=r"limits\.max_value_bytes"):
        joining_of(plan, gatherer(), event(note="x" * LIMIT), LIMIT)


@pytest.mark.parametrize(
    "orders",
    ["${events}", ["${events}", "${events}"], ["at ${batch.opened_at}: ${events}"], ["${events.0}", "${batch.size}"]],
)
@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 300, 1000])
def test_the_parameters_of_a_batch_are_never_larger_than_was_counted(orders: Any, count: int) -> None:
    plan, gathers = Plan.of(load_flow(FILE, "sync.yaml")), gatherer(params={"orders": orders})
    events = [event(number, note='"\n\x01' * (number % 7)) for number in range(count)]
    joinings = [joining_of(plan, gathers, each, LIMIT) for each in events]
    counted = sum(each.weight for each in joinings if each)
    batch = EventBatch("ann", 1_764_490_000.1234567, events)
    entrance = entrance_of(plan, Submission(gathers.params_of(batch), "r"), 100 * LIMIT)
    assert len(entrance.params) <= counted
