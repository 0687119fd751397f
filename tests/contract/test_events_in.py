"""Events and the registry in Redis: subscribed is who is active, and an event begins a run of each once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from taskmesh.client.flow_versions import FlowBox
from taskmesh.dispatch.events.runs import EventRuns
from taskmesh.dispatch.plans import Plans
from taskmesh.model.events.on_event import InboundEvent, OnEvent
from taskmesh.model.flow import Flow, Node, Param, ParamType
from taskmesh.model.subflows import Subflow
from taskmesh.store.flow_versions import flow_versions_of
from tests.contract.store_bench import Bench


class EventBench(Bench):
    def __init__(self, url: str, namespace: str) -> None:
        super().__init__(url, namespace)
        self.flows = FlowBox(flow_versions_of(self.store))
        self.runs = EventRuns(self.store, Plans(self.reader.flow_body), 10_000)

    def push(self, flow: Flow, **options: Any) -> None:
        self.flows.push(flow, **options)

    def begun(self, event: InboundEvent) -> list[str]:
        [arrival] = self.runs.admit([event])
        assert arrival.refusals == []
        return arrival.run_ids

    def count(self) -> int:
        return len(self.reader.list_runs(False, 1000))


@pytest.fixture
def bench(redis_url: str, namespace: str) -> Iterator[EventBench]:
    bench = EventBench(redis_url, namespace)
    yield bench
    bench.link.close()


def flow(name: str = "order", task: str = "t", **on: Any) -> Flow:
    said = OnEvent(**{"event": "order.created", "params": {"id": "${event.data.id}"}, **on})
    return Flow(name, "1", (Node("a", task),), (Param("id", ParamType.STRING),), on=said)


def event(event_id: str = "e-1", **data: Any) -> InboundEvent:
    return InboundEvent("order.created", event_id, "shop", {"id": "o-1", **data})


def test_a_flow_is_subscribed_while_its_active_version_says_so(bench: EventBench) -> None:
    bench.push(flow())
    assert bench.begun(event("1")) == []
    bench.flows.activate("order@1")
    assert len(bench.begun(event("2"))) == 1
    bench.push(flow(event="order.paid"), activate=True)
    assert bench.begun(event("3")) == []
    bench.flows.rollback("order")
    assert len(bench.begun(event("4"))) == 1
    bench.push(Flow("order", "1", (Node("b", "t"),)), activate=True)
    bench.flows.archive("order@1")
    assert bench.begun(event("5")) == []
    assert bench.count() == 2


def test_an_event_begins_a_run_of_each_flow_once(bench: EventBench) -> None:
    bench.push(flow("one"), activate=True)
    bench.push(flow("two"), activate=True)
    begun = bench.begun(event())
    assert len(set(begun)) == 2
    again, twice = bench.runs.admit([event(), event()])
    assert sorted(again.run_ids) == sorted(twice.run_ids) == sorted(begun)
    assert bench.count() == 2


def test_a_new_version_begins_no_second_run_of_an_event(bench: EventBench) -> None:
    bench.push(flow(), activate=True)
    begun = bench.begun(event())
    bench.push(flow(task="other"), activate=True)
    assert bench.begun(event()) == begun
    assert bench.count() == 1


def test_the_first_of_two_events_with_one_key_counts(bench: EventBench) -> None:
    bench.push(flow(dedup="${event.data.id}"), activate=True)
    assert bench.begun(event("1", amount=1)) == bench.begun(event("2", amount=2))
    assert bench.count() == 1


def test_a_flow_that_cannot_begin_keeps_no_other_from_it(bench: EventBench) -> None:
    bench.push(flow("bad", params={"id": "${event.data.number}"}), activate=True)
    bench.push(flow("good"), activate=True)
    [arrival] = bench.runs.admit([event(number=5)])
    assert len(arrival.run_ids) == 1
    [sentence] = arrival.refusals
    assert "'bad'" in sentence
    assert "must be a string, not 5" in sentence
    assert bench.count() == 1


@pytest.mark.parametrize("later", [event(), event(id=5)])
def test_an_event_whose_run_has_begun_and_could_not_any_more_is_that_run(
    bench: EventBench, later: InboundEvent
) -> None:
    bench.push(Flow("inner", "1", (Node("a", "t"),)))
    bench.push(replace(flow(), nodes=(Node("a", "", step=Subflow(reference="inner@1")),)), activate=True)
    begun = bench.begun(event())
    bench.flows.archive("inner@1")
    assert bench.begun(later) == begun
    [arrival] = bench.runs.admit([event("another")])
    assert (arrival.run_ids, ["'inner@1'" in each for each in arrival.refusals]) == ([], [True])
    assert bench.count() == 1


def test_another_process_begins_the_same_runs(bench: EventBench) -> None:
    bench.push(flow(), activate=True)
    begun = bench.begun(event())
    bench.runs = EventRuns(bench.store, Plans(bench.reader.flow_body), 10_000)
    assert bench.begun(event()) == begun
    assert bench.count() == 1


def test_what_is_active_is_read_once_and_asked_for_again(bench: EventBench) -> None:
    for number in range(20):
        bench.push(flow(f"flow-{number}", event=f"type-{number}"), activate=True)
    assert bench.begun(event()) == []
    bench.push(flow("late"), activate=True)
    assert len(bench.begun(event())) == 1
