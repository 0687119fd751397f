"""Events on both brokers: they reach whoever listens, and are no burden where nobody does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from taskmesh.broker.factory import listen_to_events
from taskmesh.broker.protocol import EventMessage, Outgoing, events_exchange_name
from taskmesh.broker.settings import BrokerSettings
from taskmesh.errors import BrokerUnavailableError
from tests.contract.broker_peers import PATIENCE_SECONDS, POOL, Peers, administer, delete_pool, peers
from tests.harness.server import Server

QUEUE = "somebody"


@pytest.fixture
def settings(settings: BrokerSettings) -> Iterator[BrokerSettings]:
    yield settings
    if settings.url.startswith("amqp"):
        administer(settings.url, lambda channel: _clean(channel, settings))


@pytest.fixture
def rabbit(rabbitmq_url: str, namespace: str) -> Iterator[BrokerSettings]:
    settings = BrokerSettings(url=rabbitmq_url, namespace=namespace, shards=2)
    yield settings
    administer(rabbitmq_url, lambda channel: _clean(channel, settings))


def _clean(channel: Any, settings: BrokerSettings) -> None:
    channel.exchange_delete(events_exchange_name(settings.namespace))
    channel.queue_delete(f"{settings.namespace}.{QUEUE}")
    delete_pool(channel, settings)


def events(*keys: str) -> list[EventMessage]:
    """Events whose bodies are their routing keys."""
    return [EventMessage(key, key.encode(), "application/cloudevents+json") for key in keys]


class Listener:
    """Somebody who listens in a thread, from the moment that the context begins."""

    def __init__(self, settings: BrokerSettings, binding: str = "#") -> None:
        self.bodies: list[bytes] = []
        self._feed = listen_to_events(settings, binding)
        self._pool = ThreadPoolExecutor(1)

    def take(self, count: int) -> list[bytes]:
        """What has come, once it is so many."""

        def listen() -> None:
            while len(self.bodies) < count:
                self.bodies.append(next(self._came))

        self._pool.submit(listen).result(PATIENCE_SECONDS)
        return self.bodies

    def __enter__(self) -> Listener:
        # pika wants the connection to be made and used by one thread.
        def begin() -> Iterator[bytes]:
            return self._feed.__enter__()

        self._came = self._pool.submit(begin).result(PATIENCE_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.submit(self._feed.__exit__, None, None, None).result(PATIENCE_SECONDS)
        self._pool.shutdown()


def publish(settings: BrokerSettings, *messages: EventMessage | Outgoing) -> None:
    """Publish, and wait until the broker has it."""

    async def scenario() -> None:
        async with peers(settings) as opened:
            await opened.publish(await opened.publisher(), messages)
            assert opened.fatal == []

    asyncio.run(scenario())


def test_events_reach_who_listens_in_order(settings: BrokerSettings) -> None:
    keys = [f"run.succeeded.flow-{number}" for number in range(50)]
    # Twice, since some brokers begin to bind only with the first who listens.
    for _ in range(2):
        with Listener(settings) as listener:
            publish(settings, *events(*keys))
            assert listener.take(50) == [key.encode() for key in keys]


def test_two_who_listen_get_all_of_them(settings: BrokerSettings) -> None:
    with Listener(settings) as one, Listener(settings) as other:
        publish(settings, *events("run.failed.a", "run.failed.b"))
        assert one.take(2) == other.take(2) == [b"run.failed.a", b"run.failed.b"]


def test_where_nobody_listens_an_event_is_published_all_the_same(settings: BrokerSettings) -> None:
    publish(settings, *events("run.failed.a"))
    with Listener(settings) as listener:
        publish(settings, *events("run.failed.b"))
        assert listener.take(1) == [b"run.failed.b"]


def test_events_and_nodes_go_through_one_publisher(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        inbox, publisher = await peers.consumer(), await peers.publisher()
        mixed = [*events("run.failed.a"), Outgoing(POOL, "key", b"node"), *events("run.failed.b")]
        await peers.publish(publisher, mixed)
        await inbox.wait_for_bodies([b"node"])
        assert peers.fatal == []

    async def main() -> None:
        async with peers(settings) as opened:
            await scenario(opened)

    with Listener(settings) as listener:
        asyncio.run(main())
        assert listener.take(2) == [b"run.failed.a", b"run.failed.b"]


def test_a_broker_that_is_away_is_said_so(settings: BrokerSettings) -> None:
    scheme = "amqp" if settings.url.startswith("amqp") else "redis"
    away = BrokerSettings(url=f"{scheme}://127.0.0.1:1", namespace=settings.namespace, shards=2)
    with pytest.raises(BrokerUnavailableError, match="hear of events"), listen_to_events(away, "#"):
        pass


@pytest.mark.parametrize(
    ("binding", "keys"),
    [
        ("run.*.#", ["run.failed.my.flow", "run.succeeded.other"]),
        ("*.failed.#", ["run.failed.my.flow", "node.failed.my.flow"]),
        ("#", ["run.failed.my.flow", "node.failed.my.flow", "run.succeeded.other"]),
        ("*.*.my.flow", ["run.failed.my.flow", "node.failed.my.flow"]),
    ],
)
def test_a_queue_is_bound_by_kind_state_and_flow(rabbit: BrokerSettings, binding: str, keys: list[str]) -> None:
    with Listener(rabbit, binding) as listener:
        publish(rabbit, *events("run.failed.my.flow", "node.failed.my.flow", "run.succeeded.other"))
        assert listener.take(len(keys)) == [key.encode() for key in keys]


def test_a_durable_queue_keeps_events_with_their_content_type(rabbit: BrokerSettings) -> None:
    name, exchange = f"{rabbit.namespace}.{QUEUE}", events_exchange_name(rabbit.namespace)
    publish(rabbit, *events("run.failed.nobody"))

    def bind(channel: Any) -> None:
        channel.queue_declare(name, durable=True)
        channel.queue_bind(name, exchange, "run.#")

    administer(rabbit.url, bind)
    publish(rabbit, *events("run.failed.a"))
    got: list[tuple[Any, ...]] = []
    administer(rabbit.url, lambda channel: got.append(channel.basic_get(name, auto_ack=True)))
    [(method, properties, body)] = got
    assert (method.routing_key, body) == ("run.failed.a", b"run.failed.a")
    assert (properties.content_type, properties.delivery_mode) == ("application/cloudevents+json", 2)


def test_an_exchange_that_was_deleted_is_made_again(rabbit: BrokerSettings) -> None:
    async def main() -> None:
        async with peers(rabbit) as opened:
            publisher = await opened.publisher()
            await opened.publish(publisher, events("run.failed.a"))
            administer(rabbit.url, lambda channel: channel.exchange_delete(events_exchange_name(rabbit.namespace)))
            await opened.publish(publisher, events("run.failed.b"))
            assert opened.fatal == []

    asyncio.run(main())


def test_events_wait_while_the_broker_is_away(settings: BrokerSettings, request: pytest.FixtureRequest) -> None:
    name = "rabbitmq" if settings.url.startswith("amqp") else "valkey_server"
    server: Server = request.getfixturevalue(name)

    async def main() -> None:
        async with peers(settings) as opened:
            publisher = await opened.publisher()
            await opened.publish(publisher, events("run.failed.a"))
            server.stop()
            try:
                confirmed = asyncio.Event()
                publisher.publish(events("run.failed.b"), confirmed.set)
                assert publisher.unconfirmed == 1
            finally:
                server.start()
            await asyncio.wait_for(confirmed.wait(), PATIENCE_SECONDS)

    asyncio.run(main())
