"""Letters on their way from the broker to the store: none is acked before it is kept, and none is held for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from taskmesh.broker.protocol import AckToken, DeadDelivery, Delivery
from taskmesh.clock import ManualClock
from taskmesh.errors import StoreUnavailableError
from taskmesh.observability.tally import Tally
from taskmesh.store.letters import DeadLetter, LetterTotals
from taskmesh.wire.messages import NodeMessage, encode_message
from taskmesh.worker.letters.collector import LETTERS_PER_BATCH, LetterCollector
from taskmesh.worker.letters.headers import Origin, headers_of
from tests.unit.engine_bench import FakeBroker


class FakeLetters:
    """A store with so much room that may be away."""

    def __init__(self) -> None:
        self.room = 1000
        self.away = False
        self.kept: dict[str, tuple[DeadLetter, bytes]] = {}

    def keep(self, letters: Sequence[tuple[DeadLetter, bytes]]) -> list[bool]:
        if self.away:
            raise StoreUnavailableError("away")
        return [self._keep(*each) for each in letters]

    def _keep(self, letter: DeadLetter, body: bytes) -> bool:
        if len(self.kept) >= self.room:
            return False
        self.kept[letter.id] = (letter, body)
        return True

    def totals(self) -> LetterTotals:
        return LetterTotals(len(self.kept), 0)

    def has_room(self) -> bool:
        return len(self.kept) < self.room


class Consumer(FakeBroker):
    def __init__(self) -> None:
        super().__init__()
        self.wishes: list[bool] = []

    def collect_letters(self, wanted: bool) -> None:
        self.wishes.append(wanted)


class CollectorBench:
    def __init__(self) -> None:
        self.letters: Any = FakeLetters()
        self.consumer = Consumer()
        self.tally = Tally()
        self.collector = LetterCollector(self.letters, self.consumer, "ns", self.tally, ManualClock())

    def receive(self, number: int, generation: int = 1, body: bytes = b"bad") -> AckToken:
        token = AckToken(generation, number)
        self.consumer.unacked[token] = body
        origin = Origin(f"{number:016x}", 5.0, "undecodable", "not msgpack", "ns.default.3", "key", "me")
        self.collector.on_letter(DeadDelivery(Delivery(body, "ns.default.dead", False, token), headers_of(origin)))
        return token


@pytest.fixture
def play() -> Callable[[Callable[[CollectorBench], Awaitable[None]]], None]:
    async def with_bench(test: Callable[[CollectorBench], Awaitable[None]]) -> None:
        await test(CollectorBench())

    return lambda test: asyncio.run(with_bench(test))


Play = Callable[[Callable[[CollectorBench], Awaitable[None]]], None]


def test_a_letter_is_kept_and_then_acked(play: Play) -> None:
    async def test(bench: CollectorBench) -> None:
        token = bench.receive(1, body=encode_message(NodeMessage("r1", 4, 0, 1, "f" * 32, "shard")))
        assert bench.consumer.acked == []
        await asyncio.sleep(0)
        [(letter, _)] = bench.letters.kept.values()
        assert bench.consumer.acked == [token]
        assert (letter.run_id, letter.node, letter.routing_key) == ("r1", 4, "shard")
        assert (letter.pool, letter.queue, letter.worker, letter.at) == ("default", "ns.default.3", "me", 5.0)

    play(test)


def test_nothing_is_acked_while_the_store_is_away_and_all_is_kept_when_it_is_back(play: Play) -> None:
    async def test(bench: CollectorBench) -> None:
        bench.letters.away = True
        tokens = [bench.receive(number) for number in range(2 * LETTERS_PER_BATCH + 1)]
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailableError):
            await bench.collector.look()
        assert bench.consumer.acked == []
        bench.letters.away = False
        await bench.collector.look()
        assert bench.consumer.acked == tokens
        assert len(bench.letters.kept) == len(tokens)

    play(test)


def test_what_finds_no_room_goes_back_until_there_is_some(play: Play) -> None:
    async def test(bench: CollectorBench) -> None:
        bench.letters.room = 2
        tokens = [bench.receive(number) for number in range(4)]
        await asyncio.sleep(0)
        assert (bench.consumer.acked, bench.consumer.requeued) == (tokens[:2], tokens[2:])
        assert bench.consumer.wishes == [False]
        late = bench.receive(4)
        assert bench.consumer.requeued[-1] == late
        await bench.collector.look()
        assert bench.consumer.wishes == [False]
        bench.letters.kept.clear()
        await bench.collector.look()
        assert bench.consumer.wishes == [False, True]
        again = bench.receive(2)
        await asyncio.sleep(0)
        assert bench.consumer.acked[-1] == again

    play(test)


def test_what_came_over_a_lost_connection_is_forgotten_as_it_comes_again(play: Play) -> None:
    async def test(bench: CollectorBench) -> None:
        bench.letters.away = True
        bench.receive(1)
        await asyncio.sleep(0)
        again = bench.receive(7, generation=2)
        bench.letters.away = False
        await asyncio.sleep(0)
        assert bench.consumer.acked == [again]

    play(test)


def test_a_collector_that_stops_gives_all_back(play: Play) -> None:
    async def test(bench: CollectorBench) -> None:
        bench.letters.away = True
        held = bench.receive(1)
        bench.collector.stop()
        late = bench.receive(2)
        assert bench.consumer.requeued == [held, late]
        await bench.collector.look()
        assert bench.consumer.wishes == []

    play(test)


def test_only_those_that_the_broker_gave_up_are_counted_here(play: Play) -> None:
    async def test(bench: CollectorBench) -> None:
        bench.receive(1)
        delivery = Delivery(b"x", "ns.default.dead", False, AckToken(1, 9))
        death = {"reason": "delivery_limit", "queue": "ns.default.1"}
        bench.collector.on_letter(DeadDelivery(delivery, {"x-death": [death]}))
        await asyncio.sleep(0)
        await bench.collector.look()
        taken = bench.tally.take()
        assert taken["counters"] == [["dead_letters_total", ["delivery_limit"], 1]]
        assert taken["gauges"] == [["dead_letters", [], 2]]

    play(test)
