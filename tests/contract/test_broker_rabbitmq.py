"""What RabbitMQ does to its clients, and what must come of it."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import socket
import warnings
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from taskmesh.broker.amqp_consumer import RabbitConsumer
from taskmesh.broker.factory import open_publisher
from taskmesh.broker.protocol import (
    Consumer,
    DirectMessage,
    LinkState,
    Publisher,
    dead_queue_name,
    exchange_name,
    shard_queue_name,
)
from taskmesh.broker.rendezvous import priority
from taskmesh.broker.settings import BrokerSettings
from taskmesh.client.publisher_thread import PublisherThread
from tests.contract.broker_peers import (
    NEW_QUEUE_SECONDS,
    POOL,
    Inbox,
    Peers,
    administer,
    delete_pool,
    delete_queues,
    numbered,
    outgoing,
    peers,
    until,
)
from tests.harness.rabbitmq import RabbitServer

Scenario = Callable[[Peers], Awaitable[None]]


@pytest.fixture
def settings(rabbitmq: RabbitServer, namespace: str) -> Iterator[BrokerSettings]:
    settings = BrokerSettings(url=rabbitmq.url, namespace=namespace, shards=2, confirm_timeout_seconds=5)
    yield settings
    administer(rabbitmq.url, lambda channel: delete_pool(channel, settings))


def play(settings: BrokerSettings, scenario: Scenario) -> None:
    async def main() -> None:
        async with peers(settings) as opened:
            await scenario(opened)
            assert opened.fatal == []

    asyncio.run(main())


def break_socket(peer: Publisher | Consumer) -> None:
    """What a network does to a connection."""
    link: Any = vars(peer)["_link"]
    link._connection._transport._sock.shutdown(socket.SHUT_RDWR)


def refusal(settings: BrokerSettings) -> str:
    """The one sentence with which both a publisher and a consumer give up."""

    async def main() -> list[str]:
        async with peers(settings) as opened:
            publisher = await opened.publisher()
            publisher.publish(outgoing([b"never"]))
            await until(lambda: len(opened.fatal) == 1)
            await opened.consumer()
            await until(lambda: len(opened.fatal) == 2)
            assert publisher.state is LinkState.DOWN
            assert publisher.unconfirmed == 1
            return [str(error) for error in opened.fatal]

    first, second = asyncio.run(main())
    assert first == second
    assert "\n" not in first
    assert "Traceback" not in first
    return first


def test_nothing_is_lost_when_the_broker_is_killed_while_messages_are_published(
    settings: BrokerSettings, rabbitmq: RabbitServer
) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        await peers.publish(publisher, outgoing([b"first"]))
        await asyncio.sleep(NEW_QUEUE_SECONDS)
        done: list[int] = []
        for start in range(0, 20_000, 100):
            bodies = numbered(20_000)[start : start + 100]
            publisher.publish(outgoing(bodies), partial(done.append, start))
        await until(lambda: len(done) > 20)
        rabbitmq.kill9()
        assert publisher.unconfirmed > 0
        rabbitmq.start()
        assert await publisher.drain(40)
        await until(lambda: len(done) == 200)
        assert len(set(done)) == 200
        inbox = await peers.consumer(prefetch=2_000)
        await inbox.wait_for_bodies([b"first", *numbered(20_000)])

    play(settings, scenario)


def test_a_wiped_broker_gets_its_queues_again_from_both_sides(settings: BrokerSettings, rabbitmq: RabbitServer) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        inbox = await peers.consumer()
        await peers.publish(publisher, outgoing([b"before"]))
        await inbox.wait_for(1)
        rabbitmq.wipe()
        await peers.publish(publisher, outgoing(numbered(10)))
        await inbox.wait_for_bodies(numbered(10))

    play(settings, scenario)


def test_a_consumer_whose_queues_are_deleted_gets_new_ones(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        inbox = await peers.consumer()
        await peers.publish(publisher, outgoing([b"before"]))
        await inbox.wait_for(1)
        for round_number in range(3):
            administer(settings.url, lambda channel: delete_queues(channel, settings))
            bodies = numbered(20, f"r{round_number}-")
            await peers.publish(publisher, outgoing(bodies))
            await inbox.wait_for_bodies(bodies)

    play(settings, scenario)


def test_messages_that_no_queue_takes_are_published_again_until_one_does(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        await peers.publish(publisher, outgoing([b"before"]))
        administer(settings.url, lambda channel: delete_queues(channel, settings))
        # All of the batch is returned, and confirmed none the less.
        await peers.publish(publisher, outgoing(numbered(300)))
        inbox = await peers.consumer()
        await inbox.wait_for_bodies(numbered(300))
        assert sorted(inbox.bodies) == sorted(numbered(300))

    play(settings, scenario)


def test_a_direct_message_waits_for_its_queue(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        queue = f"{settings.namespace}-elsewhere"
        publisher.publish([DirectMessage(queue, b"hello")])
        assert not await publisher.drain(0.3)
        administer(settings.url, lambda channel: channel.queue_declare(queue, exclusive=False, durable=True))
        assert await publisher.drain(15)
        administer(settings.url, lambda channel: channel.queue_delete(queue))

    play(settings, scenario)


def test_a_deleted_exchange_is_declared_again(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        inbox = await peers.consumer()
        await peers.publish(publisher, outgoing([b"before"]))
        administer(settings.url, lambda channel: channel.exchange_delete(exchange_name(settings.namespace, POOL)))
        await peers.publish(publisher, outgoing(numbered(100)))
        await inbox.wait_for_bodies(numbered(100))

    play(settings, scenario)


def test_a_dead_letter_is_in_its_queue_with_its_headers(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        queue = dead_queue_name(settings.namespace, POOL)
        await peers.publish(publisher, [DirectMessage(queue, b"bad", {"reason": "not msgpack"})])

        def look(channel: Any) -> None:
            _, properties, body = channel.basic_get(queue, auto_ack=True)
            assert (body, properties.headers["reason"]) == (b"bad", "not msgpack")
            assert properties.delivery_mode == 2
            assert properties.content_type == "application/vnd.taskmesh+msgpack"

        administer(settings.url, look)

    play(settings, scenario)


def test_two_hundred_lost_connections_leave_nobody_deaf(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        inbox = await peers.consumer()
        await peers.publish(publisher, outgoing([b"before"]))
        for number in range(200):
            body = f"round-{number}".encode()
            break_socket(inbox.consumer)
            if number % 4 == 0:
                break_socket(publisher)
            publisher.publish(outgoing([body]))
            await inbox.wait_for_bodies([body])
            await until(lambda: publisher.state is inbox.consumer.state is LinkState.UP)
        assert await publisher.drain(10)
        assert inbox.deliveries[-1].token.generation == 201

    play(replace(settings, reconnect_base_seconds=0.005), scenario)


def test_acks_for_a_lost_connection_are_dropped_and_its_messages_come_again(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        inbox = await peers.consumer(acks=False)
        await peers.publish(publisher, outgoing(numbered(10)))
        first = list(await inbox.wait_for(10))
        break_socket(inbox.consumer)
        await inbox.wait_for(20)
        again = inbox.deliveries[10:]
        inbox.consumer.ack([delivery.token for delivery in first])
        inbox.consumer.requeue([delivery.token for delivery in first])
        assert sorted(delivery.body for delivery in again) == sorted(delivery.body for delivery in first)
        assert all(delivery.redelivered for delivery in again)
        inbox.consumer.ack([delivery.token for delivery in again])
        await peers.publish(publisher, outgoing([b"after"]))
        await inbox.wait_for(21)
        assert inbox.deliveries[-1].token.generation == again[0].token.generation

    play(settings, scenario)


def test_a_handler_that_fails_costs_its_own_message_only(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        inbox = await peers.consumer()
        receive = inbox.receive
        failures: list[Any] = []

        def fail_once(delivery: Any) -> None:
            if not failures:
                failures.append(delivery)
                raise ValueError("a bug")
            receive(delivery)

        vars(inbox.consumer)["_on_delivery"] = fail_once
        await peers.publish(publisher, outgoing(numbered(20)))
        await inbox.wait_for(19)
        assert inbox.consumer.state is LinkState.UP

    play(settings, scenario)


def test_a_broker_that_stops_answering_is_left_and_found_again(
    settings: BrokerSettings, rabbitmq: RabbitServer
) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        inbox = await peers.consumer()
        await peers.publish(publisher, outgoing([b"before"]))
        rabbitmq.process.signal(signal.SIGSTOP)
        try:
            publisher.publish(outgoing(numbered(10)))
            await until(lambda: publisher.state is LinkState.DOWN)
        finally:
            rabbitmq.process.signal(signal.SIGCONT)
        assert await publisher.drain(30)
        await inbox.wait_for_bodies(numbered(10))

    play(replace(settings, confirm_timeout_seconds=1, connect_timeout_seconds=1), scenario)


@pytest.mark.slow
def test_a_silent_broker_is_noticed_within_two_heartbeats(settings: BrokerSettings, rabbitmq: RabbitServer) -> None:
    async def scenario(peers: Peers) -> None:
        inbox = await peers.consumer()
        rabbitmq.process.signal(signal.SIGSTOP)
        try:
            await until(lambda: inbox.consumer.state is LinkState.DOWN, 2 * settings.heartbeat_seconds + 1)
        finally:
            rabbitmq.process.signal(signal.SIGCONT)
        await until(lambda: inbox.consumer.state is LinkState.UP)

    settings = replace(settings, heartbeat_seconds=6)
    play(settings, scenario)


def test_an_alarm_blocks_publishing_and_nothing_else(settings: BrokerSettings, rabbitmq: RabbitServer) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        inbox = await peers.consumer(acks=False)
        await peers.publish(publisher, outgoing(numbered(5)))
        await inbox.wait_for(5)
        await asyncio.to_thread(rabbitmq.ctl, "set_vm_memory_high_watermark", "0.0001")
        try:
            # The first message after the alarm is what makes the broker say so.
            publisher.publish(outgoing(numbered(10, "blocked")))
            await until(lambda: publisher.state is LinkState.BLOCKED)
            publisher.publish(outgoing(numbered(10, "waiting")))
            assert not await publisher.drain(1.5)
            inbox.consumer.ack([delivery.token for delivery in inbox.deliveries])
            assert inbox.consumer.state is LinkState.UP
        finally:
            await asyncio.to_thread(rabbitmq.ctl, "set_vm_memory_high_watermark", "absolute", "1GB")
        assert await publisher.drain(20)
        await inbox.wait_for_bodies(numbered(10, "blocked") + numbered(10, "waiting"))
        assert publisher.state is LinkState.UP

    play(replace(settings, confirm_timeout_seconds=1), scenario)


def test_each_shard_goes_to_the_idle_consumer_that_prefers_it(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        holders = {name: await peers.consumer(holder=name) for name in ("alice", "bob")}
        for number in range(40):
            await peers.publish(publisher, outgoing([f"k{number}".encode()]))
        await until(lambda: sum(len(inbox.deliveries) for inbox in holders.values()) == 40)
        for name, inbox in holders.items():
            for queue in {delivery.queue for delivery in inbox.deliveries}:
                assert name == max(holders, key=lambda holder: priority(holder, queue))

    wide = replace(settings, shards=6)
    play(wide, scenario)
    administer(settings.url, lambda channel: delete_pool(channel, wide))


def test_who_stands_back_gets_nothing_that_an_idle_other_can_take(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        [back, other] = [await peers.consumer(holder=name) for name in ("alice", "bob")]
        back.consumer.stand_back(True)
        back.consumer.stand_back(True)
        await _all_to(other, publisher, peers, "first")
        back.consumer.stand_back(False)
        other.consumer.stand_back(True)
        await _all_to(back, publisher, peers, "second")

    play(settings, scenario)


async def _all_to(inbox: Inbox, publisher: Publisher, peers: Peers, prefix: str) -> None:
    """Publish until the change of a priority, which nothing announces, is seen; from then on all must go there."""
    for number in range(1000):
        await peers.publish(publisher, outgoing(probes := numbered(30, f"{prefix}{number}-")))
        await until(lambda: set(probes) <= {body for each in peers.inboxes for body in each.bodies})
        if set(probes) <= set(inbox.bodies):
            break
    for number in range(40):
        await peers.publish(publisher, outgoing([body := f"{prefix}-{number}".encode()]))
        await inbox.wait_for_bodies([body])


def test_a_shard_whose_first_choice_is_full_goes_to_the_next(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        full = await peers.consumer(holder="alice", acks=False, prefetch=2)
        other = await peers.consumer(holder="bob", acks=False, prefetch=100)
        await peers.publish(publisher, outgoing(numbered(60)))
        await until(lambda: len(full.deliveries) + len(other.deliveries) == 60)
        assert len(full.deliveries) <= 4

    play(settings, scenario)


def test_a_set_prefetch_keeps_the_connection_and_loses_nothing(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        inbox = await peers.consumer(prefetch=3)
        for number in range(20):
            publisher.publish(outgoing(numbered(50, f"b{number}-")))
            inbox.consumer.set_prefetch(3 + number % 5)
            await asyncio.sleep(0.01)
        assert await publisher.drain(20)
        await inbox.wait_for_bodies([body for number in range(20) for body in numbered(50, f"b{number}-")])
        assert {delivery.token.generation for delivery in inbox.deliveries} == {1}

    play(settings, scenario)


def test_a_connection_that_goes_on_being_refused_is_replaced(settings: BrokerSettings, rabbitmq: RabbitServer) -> None:
    policy = json.dumps({"max-length": 1, "overflow": "reject-publish"})
    sent: list[bytes] = []

    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        await peers.publish(publisher, outgoing([b"first"]))
        rabbitmq.ctl("set_policy", settings.namespace, rf"^{settings.namespace}\.", policy, "--apply-to", "queues")
        try:
            link: Any = vars(publisher)["_link"]
            # A channel learns only from the answers to what it sent that a queue is full.
            while link.generation == 1:
                sent.append(f"m{len(sent)}".encode())
                publisher.publish(outgoing(sent[-1:]))
                await asyncio.sleep(0.01)
        finally:
            rabbitmq.ctl("clear_policy", settings.namespace)
        inbox = await peers.consumer()
        assert await publisher.drain(30)
        await inbox.wait_for_bodies(sent)

    play(settings, scenario)


def test_a_broker_without_the_plugin_is_told_how_to_get_it(namespace: str) -> None:
    with RabbitServer(plugins=False) as bare:
        sentence = refusal(BrokerSettings(url=bare.url, namespace=namespace))
    assert sentence.endswith(
        "the plugin rabbitmq_consistent_hash_exchange is not enabled; "
        "run: rabbitmq-plugins enable rabbitmq_consistent_hash_exchange"
    )


def test_a_wrong_password_is_said_and_not_shown(rabbitmq: RabbitServer) -> None:
    url = f"amqp://guest:s3cret@127.0.0.1:{rabbitmq.port}"
    sentence = refusal(BrokerSettings(url=url))
    assert sentence == (
        f"RabbitMQ at amqp://127.0.0.1:{rabbitmq.port} refuses user 'guest': "
        "wrong user name or password; correct broker.url"
    )


def test_an_unknown_virtual_host_is_named(rabbitmq: RabbitServer) -> None:
    sentence = refusal(BrokerSettings(url=rabbitmq.url.replace("%2F", "nowhere")))
    assert "has no virtual host 'nowhere'" in sentence
    assert "rabbitmqctl add_vhost nowhere" in sentence


def test_a_user_without_permissions_is_told_which(rabbitmq: RabbitServer, namespace: str) -> None:
    rabbitmq.ctl("add_user", namespace, "pw")
    try:
        url = rabbitmq.url.replace("guest:guest", f"{namespace}:pw")
        assert f"rabbitmqctl set_permissions -p / {namespace}" in refusal(BrokerSettings(url=url))
        rabbitmq.ctl("set_permissions", "-p", "/", namespace, "^nothing$", ".*", ".*")
        sentence = refusal(BrokerSettings(url=url, namespace=namespace))
        assert "too few permissions" in sentence
        assert f"grant it configure, write and read on '{namespace}\\..*'" in sentence
    finally:
        rabbitmq.ctl("delete_user", namespace)


def test_a_queue_that_was_made_otherwise_is_named(settings: BrokerSettings) -> None:
    queue = shard_queue_name(settings.namespace, POOL, 1)
    administer(settings.url, lambda channel: channel.queue_declare(queue, durable=True))
    sentence = refusal(settings)
    assert queue in sentence
    assert "made with other settings" in sentence
    assert "delete it, or take another namespace" in sentence


def test_a_broker_that_comes_up_later_is_waited_for(settings: BrokerSettings, rabbitmq: RabbitServer) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        publisher.publish(outgoing([b"early"]))
        assert not await publisher.drain(0.5)
        rabbitmq.start()
        assert await publisher.drain(30)

    rabbitmq.stop()
    play(settings, scenario)


def test_classic_queues_work_too(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        inbox = await peers.consumer()
        await peers.publish(publisher, outgoing(numbered(50)))
        await inbox.wait_for(50)

    play(replace(settings, queue_type="classic"), scenario)


def test_a_consumer_closes_while_it_still_connects(settings: BrokerSettings) -> None:
    async def main() -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            url = f"amqp://127.0.0.1:{silent.getsockname()[1]}"
            consumer = RabbitConsumer(replace(settings, url=url), [POOL], "h", lambda _: None, 1)
            await consumer.start(lambda _: None)
            await asyncio.sleep(0.05)
            async with asyncio.timeout(1):
                await consumer.close()

    asyncio.run(main())


def test_closing_before_the_connection_is_made_leaves_no_socket(settings: BrokerSettings) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(40):
            PublisherThread(partial(open_publisher, settings), deadline_seconds=5).close(timeout_seconds=5)
        gc.collect()
    assert [str(each.message) for each in seen] == []


def test_deleted_queues_stay_away_for_a_moment_while_more_is_published(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        inbox = await peers.consumer()
        await peers.publish(publisher, outgoing([b"before"]))
        await inbox.wait_for(1)
        administer(settings.url, lambda channel: delete_queues(channel, settings))
        # The first is returned while others wait: making the queues for them at once would deafen the consumer.
        for number in range(20):
            publisher.publish(outgoing(numbered(5, f"b{number}-")))
            await asyncio.sleep(0.01)
        assert await publisher.drain(20)
        await inbox.wait_for_bodies([body for number in range(20) for body in numbered(5, f"b{number}-")])

    play(settings, scenario)
