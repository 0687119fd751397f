"""The keeper: what it takes for lost, whom it gives time, and that nothing bad hides what can be helped."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise

import pytest

from taskmesh.broker.protocol import DirectMessage, Outgoing
from taskmesh.dispatch.dispatcher import Dispatcher
from taskmesh.dispatch.plans import Plans
from taskmesh.errors import StoreUnavailableError
from taskmesh.keeper.keeper import (
    NODES_PER_PASS,
    PROBE_AGAIN_CAP_SECONDS,
    PROBE_AGAIN_SECONDS,
    PROBE_SECONDS,
    PUBLISH_MARGIN_SECONDS,
    Keeper,
    KeeperParts,
)
from taskmesh.keeper.leadership import Leadership
from taskmesh.observability.tally import Tally
from taskmesh.store.calls import NodeKey, Question
from taskmesh.store.elections import Elections
from taskmesh.store.housekeeping import Housekeeping
from taskmesh.store.link import Command
from taskmesh.wire.messages import NodeMessage, ProbeMessage, decode_message
from tests.contract.store_bench import ME, OTHER, Bench
from tests.unit.engine_bench import FakeBroker, single

GRACE_SECONDS = 6.0
QUEUES = ["ns.default.0", "ns.default.1"]


class MovableTime(Housekeeping):
    """Housekeeping whose clock the test moves."""

    at = 0.0

    def time(self) -> float:
        return self.at


class SilentBroker(FakeBroker):
    """Keeps what is published, and delivers nothing."""

    def publish(self, messages: object, then: object = None) -> None:
        assert isinstance(messages, list)
        self.published += [each for each in messages if isinstance(each, Outgoing)]
        self.direct += [each for each in messages if isinstance(each, DirectMessage)]


class KeeperBench:
    def __init__(self, url: str, namespace: str) -> None:
        self.side = Bench(url, namespace)
        self.housekeeping = MovableTime(self.side.link, self.side.keys, 60.0)
        self.housekeeping.at = self.side.housekeeping.time()
        self.broker = SilentBroker()
        self.keeper = self.another("keeper")
        self.housekeeping.announce_pools(["default"])

    def another(self, holder: str) -> Keeper:
        dispatcher = Dispatcher(self.broker)
        plans = Plans(self.side.reader.flow_body)
        parts = KeeperParts(
            self.side.store,
            self.side.reader,
            self.housekeeping,
            plans,
            dispatcher,
            self.broker,
            Tally(),
            Leadership(Elections(self.side.link, self.side.keys), holder, 5.0),
        )
        return Keeper(parts, "ns", 2, GRACE_SECONDS)

    def pass_later(self, seconds: float, prove: bool = True) -> None:
        """Move the time, let every shard's probe come through, and do a pass."""
        self.housekeeping.at += seconds
        if prove:
            self.housekeeping.note_probes("default", dict.fromkeys(QUEUES, self.housekeeping.at))
        asyncio.run(self.keeper.run_pass())

    def settle_in(self) -> None:
        self.pass_later(0, prove=False)
        self.pass_later(GRACE_SECONDS, prove=False)

    @property
    def nodes(self) -> list[NodeMessage]:
        messages = [decode_message(each.body) for each in self.broker.published]
        return [each for each in messages if isinstance(each, NodeMessage)]

    @property
    def probes(self) -> list[tuple[str, float]]:
        messages = [decode_message(each.body) for each in self.broker.direct]
        return [(each.queue, each.sent_at) for each in messages if isinstance(each, ProbeMessage)]


@pytest.fixture
def bench(valkey_url: str, namespace: str) -> Iterator[KeeperBench]:
    bench = KeeperBench(valkey_url, namespace)
    yield bench
    bench.side.link.close()


def test_a_probe_follows_one_that_came_through(bench: KeeperBench) -> None:
    bench.pass_later(0, prove=False)
    assert [queue for queue, _ in bench.probes] == QUEUES
    bench.pass_later(PROBE_SECONDS / 2)
    assert len(bench.probes) == 2
    bench.pass_later(PROBE_SECONDS / 2)
    assert len(bench.probes) == 4


def test_a_probe_that_does_not_come_through_is_repeated_ever_less_often(bench: KeeperBench) -> None:
    times = []
    for _ in range(1000):
        bench.pass_later(1.0, prove=False)
    times = [at for queue, at in bench.probes if queue == QUEUES[0]]
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert waits[:4] == [PROBE_AGAIN_SECONDS * 2**each for each in range(4)]
    assert waits[-1] == PROBE_AGAIN_CAP_SECONDS
    bench.pass_later(0)
    bench.pass_later(PROBE_SECONDS, prove=False)
    sent = len(bench.probes)
    bench.pass_later(PROBE_AGAIN_SECONDS, prove=False)
    assert len(bench.probes) == sent + 2


def test_a_shard_of_a_pool_that_is_served_is_probed_again_and_again(bench: KeeperBench) -> None:
    for _ in range(100):
        bench.housekeeping.note_probes("default", {QUEUES[0]: bench.housekeeping.at})
        bench.pass_later(1.0, prove=False)
    times = [at for queue, at in bench.probes if queue == QUEUES[1]]
    assert {later - earlier for earlier, later in pairwise(times)} == {PROBE_AGAIN_SECONDS}


def test_a_node_is_lost_only_when_every_shard_has_proven_it(bench: KeeperBench) -> None:
    bench.settle_in()
    bench.side.admit(single())
    bench.housekeeping.note_probes("default", {QUEUES[0]: bench.housekeeping.at + 100})
    bench.pass_later(100, prove=False)
    assert bench.nodes == []
    bench.housekeeping.note_probes("default", {QUEUES[1]: bench.side.housekeeping.time()})
    bench.pass_later(1, prove=False)
    assert bench.nodes == []
    bench.pass_later(PUBLISH_MARGIN_SECONDS + 1)
    [node] = bench.nodes
    assert (node.run_id, node.node, node.token) == ("r1", 0, 2)


def test_what_a_living_holder_runs_makes_room_for_others(bench: KeeperBench) -> None:
    bench.settle_in()
    plan = single()
    ids = _ids_of_one_partition(bench, NODES_PER_PASS + 1)
    for run_id in ids:
        bench.side.admit(plan, run_id)
    for run_id in ids[:-1]:
        bench.side.claim(plan, 0, OTHER, run_id)
    bench.pass_later(30)
    assert bench.nodes == []
    bench.pass_later(1)
    assert [node.run_id for node in bench.nodes] == [ids[-1]]


def test_what_cannot_be_read_makes_room_for_others(bench: KeeperBench) -> None:
    bench.settle_in()
    plan = single()
    gone, damaged, unreadable, *_ = ids = _ids_of_one_partition(bench, NODES_PER_PASS + 1)
    for run_id in ids:
        bench.side.admit(plan, run_id)
    keys = bench.side.keys
    commands = [Command(keys.run(gone), "DEL", keys.run(gone))]
    for run_id in ids[:-1]:
        commands.append(Command(keys.run(run_id), "HSET", keys.run(run_id), "flow", "not there"))
    commands[1] = Command(keys.run(gone), "DEL", keys.run(gone))
    commands.append(Command(keys.run(damaged), "SET", keys.run(damaged), "no hash"))
    bench.side.link.exchange(commands)
    bench.pass_later(30)
    assert bench.nodes == []
    assert NodeKey(gone, 0) not in bench.side.outbox()
    assert {NodeKey(damaged, 0), NodeKey(unreadable, 0)} <= bench.side.outbox()
    bench.pass_later(1)
    assert [node.run_id for node in bench.nodes] == [ids[-1]]


def test_the_nodes_of_a_dead_holder_are_published_again(bench: KeeperBench) -> None:
    bench.settle_in()
    bench.side.admit(single())
    claimed = bench.side.claim(single(), 0, OTHER)
    bench.side.housekeeping.end_holder(OTHER)
    bench.pass_later(30)
    assert [node.token for node in bench.nodes] == [claimed.token + 1]


def test_a_living_holder_is_asked_for_what_it_runs_for_long(bench: KeeperBench) -> None:
    bench.settle_in()
    bench.side.admit(single())
    claimed = bench.side.claim(single(), 0, OTHER)
    bench.pass_later(30)
    asked = bench.side.housekeeping.take_questions(OTHER, 10)
    assert asked == [Question(OTHER, NodeKey("r1", 0), claimed.token, "default")]
    assert bench.side.housekeeping.take_questions(OTHER, 10) == []
    assert bench.side.housekeeping.take_questions(ME, 10) == []


def test_after_an_outage_holders_get_the_time_to_say_that_they_live(
    bench: KeeperBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.settle_in()
    bench.side.admit(single())
    bench.side.claim(single(), 0, OTHER)
    bench.side.housekeeping.end_holder(OTHER)
    with monkeypatch.context() as away:
        away.setattr(bench.housekeeping, "pools", _raise)
        with pytest.raises(StoreUnavailableError):
            bench.pass_later(30)
    bench.pass_later(0)
    bench.pass_later(GRACE_SECONDS - 1)
    assert bench.nodes == []
    bench.side.housekeeping.renew_holder(OTHER, 30.0)
    bench.pass_later(30)
    assert bench.nodes == []


def test_only_one_keeper_works(bench: KeeperBench) -> None:
    bench.settle_in()
    probes = len(bench.probes)
    asyncio.run(bench.another(ME).run_pass())
    assert len(bench.probes) == probes


def _raise() -> list[str]:
    raise StoreUnavailableError("away")


def _ids_of_one_partition(bench: KeeperBench, count: int) -> list[str]:
    keys = bench.side.keys
    candidates = (f"n{number}" for number in range(100_000))
    found = [
        each for each in (next(candidates) for _ in range(count * 20)) if keys.partition_of(each) is keys.partitions[0]
    ]
    return found[:count]
