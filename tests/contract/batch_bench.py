"""Batches of events in a store at a time that the test sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from taskmesh.client.flow_versions import FlowBox
from taskmesh.dispatch.dispatcher import Ready
from taskmesh.dispatch.events.batches import BatchRuns, BegunBatch, joining_of
from taskmesh.dispatch.plan import Plan
from taskmesh.model.events.batching import Batching
from taskmesh.model.events.gathering import Gatherer
from taskmesh.model.events.on_event import InboundEvent, OnEvent
from taskmesh.model.flow import Flow, Node, Param, ParamType
from taskmesh.store.calls import Word
from taskmesh.store.events.batch_reader import EventBatchReader, Standing
from taskmesh.store.events.batches import KNOWN_SECONDS, BatchKey, EventBatches, Joining
from taskmesh.store.flow_versions import FlowVersions
from taskmesh.store.keys import Keys
from taskmesh.store.link import Link
from taskmesh.store.reader import Reader
from taskmesh.store.store import Store

NOW, LIMIT = 1_000_000.0, 10_000
WINDOW = 60.0
EVERYWHERE = range(4)
MINUTE = Batching(window_seconds=WINDOW)


def flow_of(batching: Batching = MINUTE, version: str = "1", **on: Any) -> Flow:
    said = OnEvent(**{"event": "changed", "params": {"events": "${events}"}, **on}, batching=batching)
    return Flow("sync", version, (Node("a", "t"),), (Param("events", ParamType.ARRAY),), on=said)


def event(number: int = 0, **data: Any) -> InboundEvent:
    return InboundEvent("changed", f"e-{number}", "shop", data)


class BatchBench:
    """One flow that gathers events, in a store of four partitions."""

    def __init__(self, link: Link, namespace: str) -> None:
        self.link, self.keys = link, Keys(namespace, 4)
        self.now = NOW
        self.retention_seconds = 10.0 * KNOWN_SECONDS
        self.reader = EventBatchReader(link, self.keys)
        self.runs = Reader(link, self.keys)
        self.versions = FlowBox(FlowVersions(link, self.keys))
        self.published: list[Ready] = []
        self.flow = flow_of()

    @property
    def store(self) -> Store:
        return Store(self.link, self.keys, self.retention_seconds, repr(self.now))

    @property
    def batches(self) -> EventBatches:
        return EventBatches(self.store)

    def joining(self, given: InboundEvent, **changes: Any) -> Joining:
        on = self.flow.on
        assert on is not None
        assert on.batching is not None
        joining = joining_of(Plan.of(self.flow), Gatherer(self.flow.name, on, on.batching), given, LIMIT)
        assert joining is not None
        return replace(joining, **changes)

    def gather(self, *numbers: int, **changes: Any) -> list[Word]:
        return self.batches.gather_events([self.joining(event(number), **changes) for number in numbers])

    @property
    def gathering_id(self) -> str:
        return self.joining(event()).gathering_id

    def close(self) -> Word:
        [word] = self.batches.close_batches([self.gathering_id])
        return word

    def open(self) -> Standing | None:
        [standing] = self.reader.open_standings([self.gathering_id])
        return standing

    def closed(self) -> list[BatchKey]:
        """In the order in which they were opened: a frozen time knows no other."""
        return sorted((batch for batch, _ in self.reader.closed(1000, EVERYWHERE)), key=lambda each: int(each.number))

    def events_of(self, batch: BatchKey) -> list[bytes]:
        [standing] = self.reader.closed_standings([batch])
        assert standing is not None
        [content] = self.reader.contents([standing])
        assert content is not None
        return list(content.events)

    def packed(self, *numbers: int) -> list[bytes]:
        return [self.joining(event(number)).event for number in numbers]

    def push(self) -> None:
        """Register the flow, so that its batches can begin."""
        self.versions.push(self.flow, activate=True)

    def begin(self, batches: Sequence[BatchKey]) -> list[BegunBatch]:
        """What a keeper does with closed batches, but for settling them."""
        standings = [each for each in self.reader.closed_standings(batches) if each is not None]
        contents = [each for each in self.reader.contents(standings) if each is not None]
        ready, begun = BatchRuns(self.store, LIMIT).admit(contents)
        self.published.extend(ready)
        return begun

    def settle(self, batches: Sequence[BatchKey], is_begun: bool = True) -> list[Word]:
        return self.batches.settle_batches([(each, is_begun) for each in batches])
