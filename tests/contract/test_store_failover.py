"""What the link does when the server behind it stops being the primary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
import redis

from taskmesh.errors import StoreUnavailableError
from taskmesh.store.link import Command, value_of
from taskmesh.store.opening import open_link
from taskmesh.store.subscription import Subscription
from tests.contract.store_bench import Bench
from tests.harness.redis import RedisServer
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
