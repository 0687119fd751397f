"""What the link does when the server behind it stops being the primary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
import redis

from taskmesh.errors import StoreUnavailableError
from taskmesh.model.states import RunState
from taskmesh.store.calls import Beat, NodeKey, Word
from taskmesh.store.link import Command, value_of
from taskmesh.store.opening import open_link
from taskmesh.store.scripts import Script
from taskmesh.store.subscription import Subscription
from taskmesh.wire import pack, unpack
from tests.contract.store_bench import ME, OTHER, Bench, diamond
from tests.harness.redis import RedisServer
from tests.harness.redis_cluster import RedisCluster, migrate, slot_of
from tests.harness.redis_sentinels import RedisSentinels
from tests.harness.relay import Relay

SET = Command("key", "SET", "key", "value")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two servers, and one address that leads to the first of them."""

    first: RedisServer
    second: RedisServer
    address: Relay

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.address.port}/0"

    def swap(self) -> None:
        """Make the second the primary, and the first its replica; connections to the first stay open."""
        with redis.Redis(port=self.first.port) as client:
            client.replicaof("127.0.0.1", self.second.port)
        self.address.target = self.second.port


@pytest.fixture
def pair() -> Iterator[Pair]:
    with ExitStack() as stack:
        servers = [stack.enter_context(RedisServer()) for _ in range(2)]
        yield Pair(*servers, stack.enter_context(Relay(servers[0].port)))


def test_a_server_that_was_demoted_is_left_behind_an_address_that_stays(pair: Pair) -> None:
    link = open_link(pair.url, 1.0, 1.0)
    try:
        # Two connections, of which the second is idle when the first meets the refusal.
        conversations = [link.begin([SET]) for _ in range(2)]
        assert [value_of(each.collect()[0]) for each in conversations] == [b"OK", b"OK"]
        pair.swap()
        with pytest.raises(StoreUnavailableError, match="read only replica"):
            value_of(link.exchange([SET])[0])
        conversations = [link.begin([SET]) for _ in range(2)]
        assert [value_of(each.collect()[0]) for each in conversations] == [b"OK", b"OK"]
    finally:
        link.close()


def test_a_primary_that_must_not_write_alone_refuses_and_damages_nothing(namespace: str) -> None:
    with RedisServer(overrides={"min-replicas-to-write": "1"}) as lonely:
        with pytest.raises(StoreUnavailableError, match="Not enough good replicas"):
            Bench(lonely.url, namespace)
        with redis.Redis(port=lonely.port) as client:
            assert client.dbsize() == 0


def test_keys_are_followed_while_their_slot_moves(redis_cluster: RedisCluster, namespace: str) -> None:
    gone, left = f"{{{namespace}}}:gone", f"{{{namespace}}}:left"
    read = Script("read", f"#!lua\n-- {namespace}\nreturn redis.call('GET', KEYS[1])")
    both = Script("both", f"#!lua\n-- {namespace}\nreturn #redis.call('MGET', KEYS[1], KEYS[2])")
    source = redis_cluster.owner_of(gone)
    target = next(node for node in redis_cluster.nodes if node is not source)
    link = open_link(redis_cluster.url, 1.0, 1.0)
    try:
        link.exchange([Command(key, "SET", key, key) for key in (gone, left)])
        redis_cluster.begin_to_move(slot_of(gone), source, target)
        migrate(source, target, [gone])
        # The target has never seen the script.
        commands = [Command.of_script(read, [key], []) for key in (gone, left)]
        assert [value_of(reply) for reply in link.exchange(commands)] == [gone.encode(), left.encode()]
        with pytest.raises(StoreUnavailableError, match=r"TRYAGAIN|Multiple keys request"):
            value_of(link.exchange([Command.of_script(both, [gone, left], [])])[0])
        redis_cluster.move_slot(slot_of(gone), source, target, 0.0)
        assert value_of(link.exchange([Command.of_script(both, [gone, left], [])])[0]) == 2
    finally:
        redis_cluster.move_slot(slot_of(gone), target, source, 0.0)
        link.close()


def test_a_token_given_out_again_after_lost_writes_is_its_new_holders(redis_url: str, namespace: str) -> None:
    bench, plan = Bench(redis_url, namespace), diamond()
    try:
        bench.admit(plan)
        with redis.Redis.from_url(redis_url) as client:
            kept = {key: client.dump(key) for key in client.scan_iter(f"{namespace}:*")}
            older = bench.claim(plan, 0, ME)
            for key, value in kept.items():
                client.restore(key, 0, value, replace=True)
        newer = bench.claim(plan, 0, OTHER)
        assert (newer.word, newer.token) == (Word.CLAIMED, older.token)
        first = bench.settle(plan, 0, older.token, output=pack("older"))
        assert first.word is Word.STALE
        assert bench.retry(plan, 0, older.token).word is Word.STALE
        assert bench.release(0, older.token) is Word.STALE
        [beaten] = bench.store.beat_nodes([Beat(NodeKey("r1", 0), older.token, b"half")], ME)
        assert beaten.word is Word.STALE
        second = bench.settle(plan, 0, newer.token, holder=OTHER, output=pack("newer"))
        late = bench.settle(plan, 0, older.token, output=pack("older"))
        assert (second.word, late.word) == (Word.SETTLED, Word.STALE)
        assert unpack(bench.record().outputs[0]) == "newer"
        for node in (1, 2, 3):
            bench.run_through(plan, node)
        assert bench.record().summary.status is RunState.SUCCEEDED
        assert bench.outbox() == set()
    finally:
        bench.link.close()


def test_a_link_behind_sentinel_goes_to_the_new_primary(redis_sentinels: RedisSentinels) -> None:
    link = open_link(redis_sentinels.url, 1.0, 1.0)
    try:
        assert value_of(link.exchange([SET])[0]) == b"OK"
        listening = Subscription(link)
        listening.follow("before")
        old = redis_sentinels.primary
        old.kill9()
        with pytest.raises(StoreUnavailableError):
            link.exchange([SET])
        with pytest.raises(StoreUnavailableError):
            listening.next(5.0)
        redis_sentinels.await_promotion(old)
        assert value_of(link.exchange([SET])[0]) == b"OK"
        again = Subscription(link)
        again.follow("after")
        value_of(link.exchange([Command("after", "SPUBLISH", "after", "heard")])[0])
        assert again.next(5.0) == b"heard"
        again.close()
    finally:
        link.close()
