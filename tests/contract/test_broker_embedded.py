"""What kombu on Valkey must be held to: messages of the living stay theirs, those of the dead come again."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import taskmesh
from taskmesh.broker.protocol import LinkState
from taskmesh.broker.settings import BrokerSettings
from tests.contract.broker_peers import Peers, numbered, outgoing, peers, until
from tests.harness.processes import Processes
from tests.harness.redis import RedisServer

TAKE_AND_HANG = """
import asyncio, sys
from taskmesh.broker.factory import open_consumer
from taskmesh.broker.settings import BrokerSettings

async def main():
    settings = BrokerSettings(url=sys.argv[1], namespace=sys.argv[2], shards=2, visibility_seconds=1)
    consumer = open_consumer(settings, ["default"], "doomed", print, prefetch=100)
    await consumer.start(lambda delivery: print("took", delivery.body.decode(), flush=True))
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture
def settings(valkey_url: str, namespace: str) -> BrokerSettings:
    return BrokerSettings(url=valkey_url, namespace=namespace, shards=2, visibility_seconds=1)


def test_messages_of_a_killed_process_come_again(settings: BrokerSettings, child_processes: Processes) -> None:
    async def main() -> None:
        async with peers(settings) as opened:
            publisher = await opened.publisher()
            await opened.publish(publisher, outgoing(numbered(10)))
            doomed = child_processes.start(
                [sys.executable, "-u", "-c", TAKE_AND_HANG, settings.url, settings.namespace],
                cwd=Path(taskmesh.__file__).parents[1],
            )
            await until(lambda: doomed.output.count("took") == 10)
            doomed.kill9()
            inbox = await opened.consumer()
            await inbox.wait_for(10)
            assert sorted(inbox.bodies) == sorted(numbered(10))
            assert all(delivery.redelivered for delivery in inbox.deliveries)

    asyncio.run(main())


def test_what_a_living_process_holds_is_not_given_to_another(settings: BrokerSettings) -> None:
    async def main() -> None:
        async with peers(settings) as opened:
            publisher = await opened.publisher()
            holder = await opened.consumer(acks=False)
            await opened.publish(publisher, outgoing(numbered(5)))
            await holder.wait_for(5)
            other = await opened.consumer()
            holder.consumer.pause()
            await asyncio.sleep(3 * settings.visibility_seconds)
            assert other.deliveries == []
            holder.consumer.ack([delivery.token for delivery in holder.deliveries])
            await opened.publish(publisher, outgoing([b"after"]))
            await other.wait_for(1)
            assert other.bodies == [b"after"]

    asyncio.run(main())


def test_a_unix_socket_is_a_url_too(settings: BrokerSettings, valkey_server: RedisServer) -> None:
    by_socket = replace(settings, url=f"redis+socket://{valkey_server.socket_path}?virtual_host=0")

    async def main() -> None:
        async with peers(by_socket) as opened:
            publisher = await opened.publisher()
            inbox = await opened.consumer()
            await opened.publish(publisher, outgoing(numbered(20)))
            await inbox.wait_for(20)

    asyncio.run(main())


def test_a_wiped_broker_takes_messages_again(settings: BrokerSettings, valkey_server: RedisServer) -> None:
    async def scenario(opened: Peers) -> None:
        publisher = await opened.publisher()
        inbox = await opened.consumer()
        await opened.publish(publisher, outgoing(numbered(3)))
        await inbox.wait_for(3)
        valkey_server.wipe()
        await opened.publish(publisher, outgoing(numbered(3, "again")))
        await inbox.wait_for_bodies(numbered(3, "again"))

    async def main() -> None:
        async with peers(settings) as opened:
            await scenario(opened)

    asyncio.run(main())


def test_a_wrong_password_is_said_and_not_shown(settings: BrokerSettings, valkey_server: RedisServer) -> None:
    wrong = replace(settings, url=f"redis://someone:s3cret@127.0.0.1:{valkey_server.port}/0")

    async def main() -> None:
        async with peers(wrong) as opened:
            publisher = await opened.publisher()
            await until(lambda: len(opened.fatal) == 1)
            sentence = str(opened.fatal[0])
            assert sentence.startswith("the broker refuses the login of the publisher")
            assert sentence.endswith("correct broker.url")
            assert "s3cret" not in sentence
            assert publisher.state is LinkState.DOWN

    asyncio.run(main())
