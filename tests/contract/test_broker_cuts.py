"""A connection that is cut again and again leaves no consumer that is up and gets nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from taskmesh.broker.protocol import DirectMessage, LinkState, Publisher, shard_queue_name
from taskmesh.broker.settings import BrokerSettings
from tests.contract.broker_peers import POOL, Inbox, Peers, administer, delete_pool, peers, until
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.rabbitmq import RabbitServer

CUTS = 500
SEED = 20
RESUME_SECONDS = 20.0
"""Far above what a cut takes, which is some 50 ms; far below what would be a consumer that does not come back."""

HANDSHAKE_BYTES = 1_500
"""What the server sends until all shards are consumed, and a little more."""


@pytest.fixture
def settings(rabbitmq: RabbitServer, namespace: str) -> Iterator[BrokerSettings]:
    settings = BrokerSettings(url=rabbitmq.url, namespace=namespace, shards=2)
    yield settings
    administer(rabbitmq.url, lambda channel: delete_pool(channel, settings))


def cut(proxy: CuttingProxy, chance: random.Random) -> None:
    """At once; or at once and again while it connects anew; or in the middle of what comes next."""
    way = chance.choice(("now", "twice", "later"))
    if way != "later":
        proxy.cut()
    if way != "now":
        proxy.cut_after(chance.randrange(1, HANDSHAKE_BYTES))


async def every_shard_delivers(publisher: Publisher, inbox: Inbox, settings: BrokerSettings, name: str) -> None:
    """Send a message through each shard, past the proxy, and wait for it on the consumer."""
    queues = [shard_queue_name(settings.namespace, POOL, shard) for shard in range(settings.shards)]
    bodies = {f"{name} through {queue}".encode(): queue for queue in queues}
    publisher.publish([DirectMessage(queue, body) for body, queue in bodies.items()])
    try:
        async with asyncio.timeout(RESUME_SECONDS):
            await inbox.wait_for_bodies(list(bodies))
    except TimeoutError:
        pytest.fail(f"after {name} a shard stayed silent, though the consumer says that it is {inbox.consumer.state}")
    inbox.deliveries.clear()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_consuming_goes_on_after_each_of_500_random_cuts(settings: BrokerSettings, rabbitmq: RabbitServer) -> None:
    chance = random.Random(SEED)

    async def main() -> None:
        async with CuttingProxy(rabbitmq.port) as proxy, peers(settings) as direct:
            through_proxy = replace(settings, url=settings.url.replace(str(rabbitmq.port), str(proxy.port)))
            async with peers(through_proxy) as cuttable:
                publisher, inbox = await direct.publisher(), await cuttable.consumer()
                while proxy.cuts < CUTS:
                    cut(proxy, chance)
                    await asyncio.sleep(chance.choice((0, 0, 0.005, 0.02)))
                    await every_shard_delivers(publisher, inbox, settings, f"cut {proxy.cuts}")
                await _no_consumer_is_left_behind(settings, inbox, direct)
                assert not [*direct.fatal, *cuttable.fatal]

    asyncio.run(main())


async def _no_consumer_is_left_behind(settings: BrokerSettings, inbox: Inbox, direct: Peers) -> None:
    """One consumer on each shard, which is ours, and not one that RabbitMQ still believes in."""
    await until(lambda: inbox.consumer.state is LinkState.UP)
    queues = [shard_queue_name(settings.namespace, POOL, shard) for shard in range(settings.shards)]

    def consumers() -> list[int]:
        counts: list[int] = []
        administer(
            settings.url,
            lambda channel: counts.extend(
                channel.queue_declare(queue, passive=True).method.consumer_count for queue in queues
            ),
        )
        return counts

    async with asyncio.timeout(RESUME_SECONDS):
        while (await asyncio.to_thread(consumers)) != [1] * settings.shards:
            await asyncio.sleep(0.1)
