"""The keeper's part of batches: whatever dies at whatever step, each batch begins one run with all of its events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from taskmesh.broker.protocol import EVENTS
from taskmesh.dispatch.events.batches import BatchRuns
from taskmesh.keeper import batches as keeping
from taskmesh.keeper.batches import AGAIN_SECONDS, Batches, BatchParts
from taskmesh.keeper.leadership import Leadership
from taskmesh.model.events.gathering import run_id_of
from taskmesh.model.events.on_event import InboundEvent
from taskmesh.model.flow import Flow, Node
from taskmesh.model.subflows import Subflow
from taskmesh.model.validation import complete
from taskmesh.observability.tally import Tally
from taskmesh.store.calls import Word
from taskmesh.store.elections import Elections
from taskmesh.store.letters import DeadLetterFilter, Letters
from taskmesh.store.link import Command, Link, Reply
from taskmesh.store.opening import open_link
from taskmesh.wire.inbound_events import decode_inbound
from tests.contract.batch_bench import LIMIT, WINDOW, BatchBench, event

LETTERS_KEPT = 5


class Mortal:
    """Dies right before or after some call."""

    def __init__(self, of: object, dies_at: str, is_after: bool) -> None:
        self._of = of
        self._dies_at = dies_at
        self._is_after = is_after

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._of, name)
        if name != self._dies_at:
            return method

        def dying(*arguments: Any) -> None:
            if self._is_after:
                method(*arguments)
            raise KeyboardInterrupt(name)

        return dying


class KeeperBench(BatchBench):
    """A keeper that leads all partitions; each look is that of a new one."""

    def __init__(self, link: Link, namespace: str) -> None:
        super().__init__(link, namespace)
        self.letters = Letters(link, self.keys, LETTERS_KEPT, 1_000_000)
        self.tally = Tally()
        self.leadership = Leadership(Elections(link, self.keys), "me", 3600.0)
        asyncio.run(self.leadership.renew(self.now))

    def look(self, dies_at: str = "", is_after: bool = False) -> bool:
        def mortal(of: object) -> Any:
            return Mortal(of, dies_at, is_after)

        parts = BatchParts(
            batches=mortal(self.batches),
            reader=mortal(self.reader),
            runs=mortal(BatchRuns(self.store, LIMIT)),
            letters=mortal(self.letters),
            publish=mortal(self).publish,
            leadership=self.leadership,
            tally=self.tally,
            holder="me",
            namespace="ns",
        )
        return asyncio.run(Batches(parts).look(self.now))

    def publish(self, ready: Sequence[Any]) -> None:
        self.published.extend(ready)

    def run_ids(self) -> set[str]:
        return {each.run_id for each in self.runs.list_runs(False, 1000)}

    def buried(self) -> list[InboundEvent]:
        found = self.letters.find(DeadLetterFilter(pool=EVENTS, reason="event_refused"), self.now)
        bodies = [self.letters.get(each.id) for each in found]
        return [decode_inbound(each[1], LIMIT) for each in bodies if each]


@pytest.fixture
def bench(valkey_url: str, namespace: str) -> Iterator[KeeperBench]:
    link = open_link(valkey_url, 2.0, 5.0)
    yield KeeperBench(link, namespace)
    link.close()


def test_a_batch_begins_when_its_time_is_over(bench: KeeperBench) -> None:
    bench.push()
    bench.gather(0, 1)
    assert bench.look() is False
    bench.now += WINDOW - 1
    # Soon, so the rests are short.
    assert bench.look() is True
    assert bench.run_ids() == set()
    bench.now += 1
    bench.look()
    [run_id] = bench.run_ids()
    assert [each.run_id for each in bench.published] == [run_id]
    assert bench.look() is False
    assert bench.gather(0) == [Word.SAME]


STEPS = ("partitions", "next_to_close", "close_batches", "closed", "contents", "admit", "publish", "settle_batches")


@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize("step", STEPS)
def test_a_keeper_that_dies_leaves_each_batch_to_another(bench: KeeperBench, step: str, is_after: bool) -> None:
    bench.push()
    bench.gather(0, 1, 2, most_events=2)
    [full] = bench.closed()
    bench.now += WINDOW
    with pytest.raises(KeyboardInterrupt):
        bench.look(step, is_after)
    bench.look()
    assert len(bench.run_ids()) == 2
    assert run_id_of(*full) in bench.run_ids()
    assert bench.closed() == []
    assert {each.run_id for each in bench.published} == bench.run_ids()
    assert bench.gather(0, 1, 2) == [Word.SAME] * 3


def test_a_batch_that_cannot_begin_becomes_dead_letters_that_count_when_they_come_again(
    bench: KeeperBench, caplog: pytest.LogCaptureFixture
) -> None:
    _let_begin_a_flow_that_is_archived(bench)
    bench.gather(0, 1, most_events=2)
    with caplog.at_level(logging.ERROR):
        bench.look()
    assert "a batch of 2 events became dead letters: flow 'sync' begins 'inner@1'" in caplog.text
    assert sorted(each.id for each in bench.buried()) == ["e-0", "e-1"]
    assert (bench.run_ids(), bench.closed()) == (set(), [])
    bench.versions.restore("inner@1")
    assert bench.gather(0, 1, most_events=2) == [Word.GATHERED] * 2
    bench.look()
    assert len(bench.run_ids()) == 1


def test_a_batch_that_has_begun_and_could_not_any_more_becomes_no_dead_letters(bench: KeeperBench) -> None:
    _let_begin_a_flow_that_is_archived(bench)
    bench.versions.restore("inner@1")
    bench.gather(0, 1, most_events=2)
    with pytest.raises(KeyboardInterrupt):
        bench.look("admit", is_after=True)
    bench.versions.archive("inner@1")
    bench.look()
    assert (len(bench.run_ids()), bench.buried(), bench.closed()) == (1, [], [])
    assert bench.gather(0, 1) == [Word.SAME] * 2


@pytest.mark.parametrize("is_after", [False, True])
def test_a_keeper_that_dies_amid_dead_letters_leaves_each_once(bench: KeeperBench, is_after: bool) -> None:
    _let_begin_a_flow_that_is_archived(bench)
    bench.gather(0, 1, most_events=2)
    with pytest.raises(KeyboardInterrupt):
        bench.look("keep", is_after)
    bench.look()
    assert sorted(each.id for each in bench.buried()) == ["e-0", "e-1"]
    assert bench.closed() == []


def test_a_batch_waits_where_there_is_no_room_for_dead_letters(bench: KeeperBench) -> None:
    _let_begin_a_flow_that_is_archived(bench)
    bench.gather(*range(LETTERS_KEPT + 1), most_events=LETTERS_KEPT + 1)
    bench.look()
    assert len(bench.closed()) == 1
    bench.letters = Letters(bench.link, bench.keys, 100, 1_000_000)
    bench.now += AGAIN_SECONDS
    bench.look()
    assert len(bench.buried()) == LETTERS_KEPT + 1
    assert bench.closed() == []


@pytest.mark.parametrize("field", ["closed:NUMBER", "NUMBER/0"])
def test_what_cannot_be_read_makes_room_for_the_others(
    bench: KeeperBench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, field: str
) -> None:
    monkeypatch.setattr(keeping, "BATCHES_PER_LOOK", 1)
    bench.push()
    bench.gather(0, most_events=1)
    [damaged] = bench.closed()
    key = bench.keys.partition_of(damaged.gathering_id).gathering(damaged.gathering_id)
    bench.link.exchange([Command(key, "HDEL", key, field.replace("NUMBER", damaged.number))])
    bench.now += 1
    bench.gather(1, most_events=1)
    with caplog.at_level(logging.ERROR):
        bench.look()
    assert "1 batches of events are damaged" in caplog.text
    bench.look()
    assert len(bench.run_ids()) == 1
    assert bench.closed() == [damaged]


def test_what_cannot_be_settled_is_not_begun_again_and_again(bench: KeeperBench) -> None:
    bench.push()
    bench.gather(0, most_events=1)
    keys = bench.keys.partition_of(bench.gathering_id)
    bench.link.exchange([Command(keys.gathered_bytes, "DEL", keys.gathered_bytes)])
    bench.link.exchange([Command(keys.gathered_bytes, "SADD", keys.gathered_bytes, "of another type")])
    for _ in range(3):
        bench.look()
    assert len(bench.published) == 1
    bench.link.exchange([Command(keys.gathered_bytes, "DEL", keys.gathered_bytes)])
    bench.now += AGAIN_SECONDS
    bench.look()
    assert (len(bench.run_ids()), bench.closed()) == (1, [])


def test_many_large_batches_are_begun_in_portions(bench: KeeperBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.push()
    monkeypatch.setattr(keeping, "BYTES_AT_ONCE", 2 * bench.joining(event()).weight)
    bench.gather(*range(5), most_events=1)
    bench.look()
    assert len(bench.run_ids()) == 5
    assert bench.closed() == []


def test_what_is_left_over_is_begun_by_the_next_look(bench: KeeperBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "BATCHES_PER_LOOK", 2)
    bench.push()
    for number in range(5):
        bench.batches.gather_events([bench.joining(event(number), gathering_id=f"{number:032x}")])
    bench.now += WINDOW
    seen = []
    while bench.look():
        seen.append(len(bench.run_ids()))
    assert seen == [2, 4, 5]


def test_who_leads_nothing_leaves_batches_alone(bench: KeeperBench) -> None:
    bench.push()
    bench.gather(0, most_events=1)
    bench.leadership.epochs = {}
    assert bench.look() is False
    assert len(bench.closed()) == 1


def test_a_mesh_that_gathers_no_events_pays_one_command_for_a_look(bench: KeeperBench) -> None:
    asked: list[Command] = []
    exchange = bench.link.exchange

    def noting(commands: Sequence[Command]) -> list[Reply]:
        asked.extend(commands)
        return exchange(commands)

    bench.link.exchange = noting  # type: ignore[method-assign]
    assert bench.look() is False
    assert [each.arguments[0] for each in asked] == ["SMEMBERS"]


def _let_begin_a_flow_that_is_archived(bench: KeeperBench) -> None:
    """What its runs begin is there when events are gathered, and gone when the batch closes."""
    node = Node("a", "", step=Subflow(reference="inner@1"))
    bench.flow = complete(replace(bench.flow, nodes=(node,)))
    bench.versions.push(Flow("inner", "1", (Node("a", "t"),)))
    bench.push()
    bench.versions.archive("inner@1")
