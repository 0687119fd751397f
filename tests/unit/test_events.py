"""What an event is, what it looks like for others, and who wants which."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from taskmesh import Mesh
from taskmesh.cli.hearing import line_of
from taskmesh.dispatch.events.published import EventWriter
from taskmesh.dispatch.maps.copies import copies_plan
from taskmesh.dispatch.maps.items import items_of
from taskmesh.dispatch.plan import Plan
from taskmesh.errors import ConfigError, FlowError, UsageError, WireError
from taskmesh.flows import dump_flow, load_flow
from taskmesh.model.events.published import (
    MESSAGE_CHARACTERS,
    ROUTING_KEY_BYTES,
    Event,
    EventFilter,
    EventKind,
    error_of,
)
from taskmesh.model.flow import Events, Flow, Node
from taskmesh.model.mapping import Map
from taskmesh.model.run_context import NO_CONTEXT, RunContext
from taskmesh.store.events.recorded import RUN_ITSELF, WATCHED, Emitted
from taskmesh.store.keys import Keys
from taskmesh.wire import pack, unpack
from taskmesh.wire.cloud_events import encode_event
from taskmesh.wire.flows import EVENTS_SCHEMA, decode_flow, encode_flow
from taskmesh.wire.run_contexts import encode_context

EVENT = Event("id", EventKind.NODE, "failed", "my.flow", "r1", 1_790_000_000.25, "charge", {"run": "r1"})
FLOW = Flow("f", "1", (Node("a", "t"),))


def test_an_event_is_named_by_kind_and_state_and_its_subject_is_the_node() -> None:
    run = replace(EVENT, kind=EventKind.RUN, node="", state="succeeded")
    assert (EVENT.type, EVENT.subject) == ("taskmesh.node.failed", "r1/charge")
    assert (run.type, run.subject) == ("taskmesh.run.succeeded", "r1")


def test_a_routing_key_ends_with_the_flow_and_fits_into_amqp() -> None:
    assert EVENT.routing_key == "node.failed.my.flow"
    long = replace(EVENT, flow="\N{SNOWMAN}" * 255).routing_key
    assert len(long.encode()) <= ROUTING_KEY_BYTES
    assert long.startswith("node.failed.\N{SNOWMAN}")
    assert replace(EVENT, flow="\ud800").routing_key.startswith("node.failed.")


def test_a_cloud_event_has_what_the_specification_asks_for() -> None:
    assert json.loads(encode_event(EVENT, "mesh one")) == {
        "specversion": "1.0",
        "id": "id",
        "source": "/taskmesh/mesh%20one/flows/my.flow",
        "type": "taskmesh.node.failed",
        "subject": "r1/charge",
        "time": "2026-09-21T14:13:20.250000Z",
        "datacontenttype": "application/json",
        "data": {"run": "r1"},
    }


def test_an_error_is_told_in_short() -> None:
    told = error_of({"type": "ValueError", "message": "m" * 10_000, "traceback": "secret"})
    assert told == {"type": "ValueError", "message": "m" * MESSAGE_CHARACTERS}
    assert error_of(None) is None


@pytest.mark.parametrize(
    ("type_", "flow", "binding", "takes"),
    [
        ("", "", "*.*.#", True),
        ("node", "", "node.*.#", True),
        ("run", "", "run.*.#", False),
        ("node.failed", "my.flow", "node.failed.#", True),
        ("taskmesh.node.failed", "", "node.failed.#", True),
        ("node.skipped", "", "node.skipped.#", False),
        ("", "other", "*.*.#", False),
    ],
)
def test_a_filter_takes_what_it_names(type_: str, flow: str, binding: str, takes: bool) -> None:
    wanted = EventFilter.of(type_, flow)
    fields = {"type": "taskmesh.node.failed", "data": {"flow": "my.flow"}}
    assert (wanted.binding, wanted.takes(fields)) == (binding, takes)


def test_a_filter_bears_what_others_publish() -> None:
    assert EventFilter().takes({})
    assert not EventFilter(flow="f").takes({"type": 3, "data": []})


@pytest.mark.parametrize("type_", ["runs", "run.running", "run.skipped", "node.terminated", ".failed"])
def test_a_type_that_there_is_not_is_refused(type_: str) -> None:
    with pytest.raises(UsageError, match="no type of event"):
        EventFilter.of(type_, "")


@pytest.mark.parametrize("events", [Events.RUNS, Events.NODES])
def test_a_flow_keeps_what_it_sends(events: Events) -> None:
    flow = replace(FLOW, events=events)
    assert decode_flow(encode_flow(flow)) == flow
    assert load_flow(dump_flow(flow), "here") == flow
    assert unpack(encode_flow(flow))[0] == EVENTS_SCHEMA


def test_a_flow_that_sends_nothing_has_the_bytes_that_it_had_before() -> None:
    assert unpack(encode_flow(FLOW))[0] == 1
    assert "events" not in dump_flow(FLOW)


def test_bytes_that_send_something_unknown_are_no_flow() -> None:
    fields = unpack(encode_flow(replace(FLOW, events=Events.RUNS)))
    with pytest.raises(WireError):
        decode_flow(pack([*fields[:-1], "everything"]))


def test_what_a_flow_may_send_is_checked_on_both_faces() -> None:
    mesh = Mesh()
    with pytest.raises(UsageError, match="events must be one of none, runs, nodes"):
        mesh.flow(events="node")(lambda: None)
    with pytest.raises(FlowError, match="events must be one of none, runs, nodes; did you mean 'nodes'"):
        load_flow("flow: f\nevents: node\nnodes: {a: {task: t}}\n", "here")


def test_a_python_flow_says_what_it_sends() -> None:
    mesh = Mesh()

    @mesh.task
    def work() -> int:
        return 1

    @mesh.flow(events="nodes")
    def loud() -> int:
        return work()

    assert loud.compile().events is Events.NODES


def test_no_pool_takes_the_exchange_of_events() -> None:
    mesh = Mesh()
    with pytest.raises(UsageError, match="and not events"):
        mesh.task(pool="events")(lambda: None)
    with pytest.raises(ConfigError, match="must not be 'events'"):
        _ = Mesh(worker={"pools": ["events"]}).settings
    assert Mesh(worker={"pools": ["events-of-mine"]}).settings.worker.pools == ("events-of-mine",)


def test_scripts_know_where_events_wait() -> None:
    """They are told no more than the run, and read the rest from its key."""
    partition = Keys("mesh", 4).partitions[3]
    assert partition.emitted == partition.run("r1").partition("run:")[0] + "emitted"
    assert partition.lost_events == partition.emitted + ":lost"


def test_people_read_an_event_in_one_line_whatever_it_holds() -> None:
    error = {"type": "ValueError", "message": "two\nlines"}
    told = {"time": "T", "type": "taskmesh.run.failed", "subject": "r1", "data": {"flow": "f", "error": error}}
    assert line_of(told) == "T  taskmesh.run.failed  r1  (f)  ValueError: two lines"
    assert line_of({"data": 3}) == "?  ?  ?"


TRACE = {"traceparent": f"00-{'4' * 32}-{'a' * 16}-01", "tracestate": "vendor=1"}


@pytest.mark.parametrize("node", [RUN_ITSELF, 0, 1])
@pytest.mark.parametrize(("context", "trace"), [(RunContext("req-1", None, *TRACE.values()), TRACE), (NO_CONTEXT, {})])
def test_an_event_carries_the_trace_of_the_request(node: int, context: RunContext, trace: dict[str, str]) -> None:
    plan = Plan.of(load_flow("flow: f\nhooks: {finally: t}\nnodes: {a: {task: t}}\n", "f.yaml"))
    stored = {"header": pack(["f", "1", {}, 2]), "flow": b"hash", "context": encode_context(context)}
    outbox: Any = SimpleNamespace(facts=lambda asked: [[stored.get(name) for name in fields] for _, fields in asked])
    plans: Any = SimpleNamespace(get=lambda hash_, run_id: plan)
    emitted = Emitted("r1", "run" if node == RUN_ITSELF else "node", node, "succeeded", 1.5, 1, b"member", "key")
    [message] = EventWriter(outbox, plans, "mesh").write([emitted])
    fields = json.loads(message.body)
    assert {name: fields[name] for name in TRACE if name in fields} == trace
    assert fields["data"].get("node") == {RUN_ITSELF: None, 0: "a", 1: "flow:finally"}[node]


def test_a_child_sends_what_its_own_flow_says_and_the_items_of_a_map_nothing() -> None:
    text = """
flow: f
events: nodes
nodes:
  quiet: {flow: {flow: quiet, nodes: {a: {task: t}}}}
  loud: {flow: {flow: loud, events: runs, nodes: {a: {task: t}}}}
  items: {map: [1], task: t, args: {x: "${item}"}}
"""
    plan = Plan.of(load_flow(text, "f.yaml"))
    inner = {node.name: plan.inner_plan(at) for at, node in enumerate(plan.flow.nodes)}
    assert {name: each.own_fields for name, each in inner.items() if each} == {"quiet": (), "loud": (WATCHED, "runs")}
    step = plan.node(plan.graph.index["items"]).step
    assert isinstance(step, Map)
    items = items_of(step, [1])
    assert items is not None
    assert copies_plan(plan.flow, step, items).own_fields == ()
