"""The keeper's relay: whatever dies at whatever step, each event is published, and none for ever."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from taskmesh.broker.protocol import EventMessage, LinkState, Message
from taskmesh.dispatch.events.published import EventWriter
from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.plans import Plans
from taskmesh.keeper.events import EventRelay
from taskmesh.keeper.leadership import Leadership
from taskmesh.model.flow import Events, Flow, Node
from taskmesh.observability.tally import Tally
from taskmesh.store.calls import Who
from taskmesh.store.elections import Elections
from taskmesh.store.events.recorded import Emitted, EventOutbox
from taskmesh.store.link import Command
from taskmesh.wire import pack
from tests.contract.store_bench import Bench

PATIENCE_SECONDS = 60.0


class KeptPublisher:
    """Has what was published; confirms while it is told to."""

    def __init__(self) -> None:
        self.messages: list[EventMessage] = []
        self.confirms = True
        self.state = LinkState.UP
        self.unconfirmed = 0
        self._owed: list[Callable[[], None]] = []

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def drain(self, timeout_seconds: float) -> bool:
        return True

    def publish(self, messages: Sequence[Message], then: Callable[[], None] | None = None) -> None:
        self.messages += [each for each in messages if isinstance(each, EventMessage)]
        if then is not None:
            self._owed.append(then)
        if self.confirms:
            self.confirm()

    def confirm(self) -> None:
        for then in self._owed:
            then()
        self._owed.clear()

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(message.body) for message in self.messages]


class Mortal(EventOutbox):
    """Dies at one step."""

    dies_at = ""

    def waiting(self, limit: int, partitions: Any) -> list[Emitted]:
        found = super().waiting(limit, partitions)
        self._step("read")
        return found

    def facts(self, asked: Any) -> Any:
        self._step("write")
        return super().facts(asked)

    def forget(self, published: Sequence[Emitted]) -> None:
        self._step("published")
        super().forget(published)
        self._step("forgotten")

    def _step(self, name: str) -> None:
        if self.dies_at == name:
            raise KeyboardInterrupt(name)


class RelayBench(Bench):
    """A relay that leads all partitions."""

    def __init__(self, url: str, namespace: str) -> None:
        super().__init__(url, namespace)
        self.publisher = KeptPublisher()
        self.tally = Tally()
        self.outbox = EventOutbox(self.link, self.keys)
        self.leadership = Leadership(Elections(self.link, self.keys), "me", 60.0)

    def relay(self, outbox: EventOutbox | None = None) -> EventRelay:
        outbox = outbox or self.outbox
        writer = EventWriter(outbox, Plans(self.reader.flow_body), "mesh")
        return EventRelay(outbox, writer, self.publisher, self.leadership, self.tally)

    def look(self, outbox: EventOutbox | None = None) -> float:
        return asyncio.run(self._look(outbox))

    async def _look(self, outbox: EventOutbox | None) -> float:
        await self.leadership.renew(self.housekeeping.time())
        return await self.relay(outbox).look()

    def told(self) -> list[tuple[str, str]]:
        return [(each["type"], each["subject"]) for each in self.publisher.events()]

    def waiting(self) -> int:
        return self.outbox.backlog(range(4)).waiting


@pytest.fixture
def bench(redis_url: str, namespace: str) -> Iterator[RelayBench]:
    bench = RelayBench(redis_url, namespace)
    yield bench
    bench.link.close()


PLAN = Plan.of(Flow("my.flow", "3", (Node("a", "t"), Node("b", "u", needs=("a",))), events=Events.NODES))
ALL = [
    ("taskmesh.node.succeeded", "r1/a"),
    ("taskmesh.node.failed", "r1/b"),
    ("taskmesh.run.failed", "r1"),
]


def end_a_run(bench: RelayBench) -> None:
    bench.admit(PLAN)
    bench.run_through(PLAN, 0)
    error = pack({"type": "ValueError", "message": "m" * 2000, "traceback": "not for others"})
    bench.run_through(PLAN, 1, "failed", halt="failed", output=b"", error=error)


def test_what_waits_is_published_in_order_and_then_gone(bench: RelayBench) -> None:
    end_a_run(bench)
    assert bench.look() == 0.0
    assert bench.told() == ALL
    assert bench.waiting() == 0
    bench.look()
    assert len(bench.publisher.messages) == 3
    assert ["events_published_total", [], 3] in bench.tally.take()["counters"]


def test_a_cloud_event_says_what_happened_and_no_more(bench: RelayBench) -> None:
    end_a_run(bench)
    bench.look()
    first, failed, run = bench.publisher.events()
    record = bench.record()
    assert run["specversion"] == "1.0"
    assert run["source"] == "/taskmesh/mesh/flows/my.flow"
    assert run["datacontenttype"] == "application/json"
    assert run["time"].endswith("Z")
    assert run["data"] == {
        "run": "r1",
        "flow": "my.flow",
        "version": "3",
        "state": "failed",
        "tags": {},
        "submitted_at": record.summary.submitted_at,
        "finished_at": record.summary.finished_at,
        "failed_node": "b",
        "error": {"type": "ValueError", "message": "m" * 500},
    }
    assert failed["data"]["error"] == run["data"]["error"]
    assert (failed["data"]["node"], failed["data"]["task"], failed["data"]["attempt"]) == ("b", "u", 1)
    assert "error" not in first["data"]
    assert "output" not in first["data"]
    assert len({event["id"] for event in (first, failed, run)}) == 3
    assert [message.routing_key for message in bench.publisher.messages] == [
        "node.succeeded.my.flow",
        "node.failed.my.flow",
        "run.failed.my.flow",
    ]


@pytest.mark.parametrize("step", ["read", "write", "published", "forgotten"])
def test_a_relay_that_dies_at_any_step_loses_no_event_and_repeats_it_under_its_id(bench: RelayBench, step: str) -> None:
    end_a_run(bench)
    mortal = Mortal(bench.link, bench.keys)
    mortal.dies_at = step
    with pytest.raises(KeyboardInterrupt):
        bench.look(mortal)
    bench.look()
    assert set(bench.told()) == set(ALL)
    assert len({event["id"] for event in bench.publisher.events()}) == 3
    assert len(bench.publisher.messages) == (6 if step == "published" else 3)
    assert bench.waiting() == 0


def test_while_nobody_confirms_one_batch_is_out_and_the_rest_waits_in_the_store(bench: RelayBench) -> None:
    end_a_run(bench)
    bench.publisher.confirms = False

    async def scenario() -> None:
        await bench.leadership.renew(bench.housekeeping.time())
        looking = asyncio.create_task(bench.relay().look())
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not bench.publisher.messages:
                await asyncio.sleep(0.01)
        assert bench.waiting() == 3
        bench.publisher.confirm()
        await looking

    asyncio.run(scenario())
    assert (bench.told(), bench.waiting()) == (ALL, 0)


def test_nobody_publishes_for_a_partition_that_another_leads(bench: RelayBench) -> None:
    end_a_run(bench)
    other = Elections(bench.link, bench.keys)
    other.lead("other", 60.0, ["take"] * 4)
    bench.look()
    assert (bench.told(), bench.waiting()) == ([], 3)


def test_the_event_of_a_run_that_is_gone_goes_too(bench: RelayBench) -> None:
    end_a_run(bench)
    key = bench.keys.run("r1")
    assert bench.link.exchange([Command(key, "DEL", key)]) == [1]
    bench.look()
    assert (bench.told(), bench.waiting()) == ([], 0)


def test_an_event_that_cannot_be_told_holds_up_no_other(bench: RelayBench) -> None:
    end_a_run(bench)
    key = bench.keys.partition_of("r1").emitted
    odd = [pack(["r1", "node", 99, "failed", 1.0, 1]), pack(["r1", "run", -1, "failed", 1e300, 0])]
    bench.link.exchange([Command(key, "ZADD", key, 0, member) for member in odd])
    # Of a run that is not in this partition.
    bench.link.exchange([Command(key, "ZADD", key, 0, pack(["r2", "run", -1, "failed", 1.0, 0]))])
    bench.look()
    assert (bench.told(), bench.waiting()) == (ALL, 0)


def test_who_ended_a_run_is_told(bench: RelayBench) -> None:
    bench.admit(PLAN)
    bench.controls.terminate_runs([("r1", PLAN.hash)], Who("alice", "wrong data"))
    bench.look()
    [event] = bench.publisher.events()
    assert event["type"] == "taskmesh.run.terminated"
    assert (event["data"]["ended_by"], event["data"]["reason"]) == ("alice", "wrong data")


def test_an_earlier_end_of_a_run_is_not_told_with_what_became_of_it_later(bench: RelayBench) -> None:
    end_a_run(bench)
    bench.controls.reopen_run("r1", PLAN.hash, "retry")
    bench.look()
    run = bench.publisher.events()[-1]
    assert run["type"] == "taskmesh.run.failed"
    assert "error" not in run["data"]


def test_a_mesh_without_events_is_asked_one_thing(bench: RelayBench) -> None:
    bench.admit(Plan.of(Flow("quiet", "1", (Node("a", "t"),))))
    assert bench.look() == 0.5
