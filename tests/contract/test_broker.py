"""What every broker adapter does alike."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import pytest

from taskmesh.broker.protocol import AckToken, DirectMessage, LinkState, Outgoing, dead_queue_name, shard_queue_name
from taskmesh.broker.settings import BrokerSettings
from tests.contract.broker_peers import (
    NEW_QUEUE_SECONDS,
    POOL,
    Peers,
    administer,
    delete_pool,
    numbered,
    outgoing,
    peers,
    until,
)
from tests.harness.server import Server

Scenario = Callable[[Peers], Awaitable[None]]


@pytest.fixture
def server(request: pytest.FixtureRequest, settings: BrokerSettings) -> Server:
    """The server behind ``settings``, to be stopped and started."""
    name = "rabbitmq" if settings.url.startswith("amqp") else "valkey_server"
    server: Server = request.getfixturevalue(name)
    return server


def play(settings: BrokerSettings, scenario: Scenario) -> None:
    async def main() -> None:
        async with peers(settings) as opened:
            await scenario(opened)
            assert opened.fatal == []

    asyncio.run(main())


def test_then_is_called_once_for_each_batch(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        called: list[int] = []
        for number, size in enumerate([3, 0, 1, 200, 2]):
            publisher.publish(outgoing(numbered(size)), partial(called.append, number))
        assert publisher.unconfirmed == 206
        assert await publisher.drain(30)
        await until(lambda: len(called) == 5)
        assert publisher.unconfirmed == 0
        # Each shard confirms at its own pace, so a later batch may be safe before an earlier one.
        assert sorted(called) == [0, 1, 2, 3, 4]

    play(settings, scenario)


def test_every_message_is_delivered_once_and_an_acked_one_never_again(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        first = await peers.consumer()
        await peers.publish(publisher, outgoing(numbered(500)))
        await first.wait_for(500)
        assert sorted(first.bodies) == sorted(numbered(500))
        assert not any(delivery.redelivered for delivery in first.deliveries)
        await first.consumer.close()

        second = await peers.consumer()
        await peers.publish(publisher, outgoing([b"last"]))
        assert [delivery.body for delivery in await second.wait_for(1)] == [b"last"]

    play(replace(settings, shards=1), scenario)


def test_what_was_not_acked_comes_again_when_the_consumer_has_closed(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        first = await peers.consumer(acks=False)
        await peers.publish(publisher, outgoing(numbered(20)))
        deliveries = await first.wait_for(20)
        first.consumer.ack([delivery.token for delivery in deliveries[:5]])
        await first.consumer.close()

        second = await peers.consumer()
        await second.wait_for(15)
        assert sorted(second.bodies) == sorted(delivery.body for delivery in deliveries[5:])
        assert all(delivery.redelivered for delivery in second.deliveries)

    play(settings, scenario)


def test_a_requeued_message_is_delivered_again(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        inbox = await peers.consumer(acks=False)
        await peers.publish(publisher, outgoing([b"again"]))
        (first,) = await inbox.wait_for(1)
        inbox.consumer.requeue([first.token])
        _, second = await inbox.wait_for(2)
        assert (second.body, second.redelivered) == (b"again", True)
        inbox.consumer.ack([second.token])

    play(settings, scenario)


def test_acking_what_is_acked_or_unknown_or_of_another_connection_does_no_harm(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        inbox = await peers.consumer(acks=False)
        await peers.publish(publisher, outgoing(numbered(2)))
        deliveries = await inbox.wait_for(2)
        token = deliveries[0].token
        strangers = [AckToken(token.generation, 999), AckToken(token.generation + 1, token.tag)]
        inbox.consumer.ack([token, token, *strangers])
        inbox.consumer.requeue([token, *strangers])
        inbox.consumer.ack([token, deliveries[1].token])
        await peers.publish(publisher, outgoing([b"after"]))
        await inbox.wait_for(3)
        assert inbox.bodies[-1] == b"after"
        assert inbox.deliveries[-1].token.generation == token.generation

    play(settings, scenario)


def test_a_paused_consumer_takes_nothing_more_and_can_still_ack(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        paused = await peers.consumer(acks=False, holder="a")
        await peers.publish(publisher, outgoing(numbered(4)))
        deliveries = list(await paused.wait_for(4))
        paused.consumer.pause()

        other = await peers.consumer(holder="b")
        await peers.publish(publisher, outgoing(numbered(50, "n")))
        await other.wait_for(50)
        paused.consumer.ack([delivery.token for delivery in deliveries])
        await paused.consumer.close()
        await peers.publish(publisher, outgoing([b"last"]))
        await other.wait_for(51)
        assert sorted(other.bodies) == sorted([*numbered(50, "n"), b"last"])
        assert len(paused.deliveries) == 4

    play(settings, scenario)


def test_a_paused_consumer_resumes_with_the_prefetch_of_now(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        inbox = await peers.consumer()
        await peers.publish(publisher, outgoing(numbered(4)))
        await inbox.wait_for(4)
        inbox.consumer.pause()
        inbox.consumer.set_prefetch(7)
        await peers.publish(publisher, outgoing(numbered(20, "n")))
        inbox.consumer.resume()
        await inbox.wait_for(24)
        assert sorted(inbox.bodies[4:]) == sorted(numbered(20, "n"))

    play(settings, scenario)


def test_no_more_than_the_prefetch_is_held(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        inbox = await peers.consumer(acks=False, prefetch=5)
        await peers.publish(publisher, outgoing(numbered(30)))
        await inbox.wait_for(5)
        await asyncio.sleep(0.3)
        assert len(inbox.deliveries) == 5
        inbox.consumer.ack([inbox.deliveries[0].token])
        await inbox.wait_for(6)
        inbox.consumer.ack([delivery.token for delivery in inbox.deliveries])
        await inbox.wait_for(11)
        inbox.consumer.set_prefetch(12)
        inbox.consumer.ack([delivery.token for delivery in inbox.deliveries])
        await inbox.wait_for(23)
        await asyncio.sleep(0.3)
        assert len(inbox.deliveries) == 23
        # What was on its way while the limit changed may be delivered to us again; nothing is lost.
        inbox.acks = True
        inbox.consumer.ack([delivery.token for delivery in inbox.deliveries])
        await inbox.wait_for_bodies(numbered(30))

    play(replace(settings, shards=1), scenario)


def test_a_direct_message_goes_to_its_queue_with_its_headers(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        queues = [shard_queue_name(settings.namespace, POOL, shard) for shard in range(2)]
        await peers.publish(publisher, [DirectMessage(queue, b"probe", {"reason": "é"}) for queue in queues])
        inbox = await peers.consumer()
        await inbox.wait_for(2)
        assert sorted(delivery.queue for delivery in inbox.deliveries) == queues

    play(settings, scenario)


def test_routing_keys_spread_over_the_shards_by_weight(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        inbox = await peers.consumer(prefetch=1_000)
        await peers.publish(publisher, outgoing(numbered(1_000)))
        await inbox.wait_for(1_000)
        hits = Counter(delivery.queue for delivery in inbox.deliveries)
        shares = [hits[shard_queue_name(settings.namespace, POOL, shard)] / 125 for shard in range(4)]
        assert shares == pytest.approx([1, 1, 2, 4], rel=0.4)
        await peers.publish(publisher, outgoing(numbered(1_000)))
        await inbox.wait_for(2_000)
        assert len({(delivery.body, delivery.queue) for delivery in inbox.deliveries}) == 1_000

    weighted = replace(settings, shards=4, shard_weights=(1, 1, 2, 4))
    play(weighted, scenario)
    if settings.url.startswith("amqp"):
        administer(settings.url, lambda channel: delete_pool(channel, weighted))


def test_any_text_is_a_routing_key_and_any_bytes_are_a_body(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        inbox = await peers.consumer()
        sent = {"": b"", "k" * 1_000: b"\x00\xff", "é\ud800": b"x" * 300_000}
        await peers.publish(publisher, [Outgoing(POOL, key, body) for key, body in sent.items()])
        await inbox.wait_for(3)
        assert set(inbox.bodies) == set(sent.values())

    play(settings, scenario)


def test_pools_are_apart(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        both = await peers.consumer(pools=[POOL, "big.files"])
        messages = [*outgoing(numbered(10)), *outgoing(numbered(10, "f"), "big.files")]
        await peers.publish(publisher, messages)
        await both.wait_for(20)
        prefix = f"{settings.namespace}.big.files."
        assert {d.body for d in both.deliveries if d.queue.startswith(prefix)} == set(numbered(10, "f"))

    play(settings, scenario)
    if settings.url.startswith("amqp"):
        administer(settings.url, lambda channel: delete_pool(channel, settings, "big.files"))


def test_calls_from_another_thread_are_refused(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        inbox = await peers.consumer()
        refused: list[RuntimeError] = []

        def elsewhere() -> None:
            calls: list[Callable[[], None]] = [
                partial(publisher.publish, []),
                partial(inbox.consumer.ack, []),
                inbox.consumer.pause,
            ]
            for call in calls:
                try:
                    call()
                except RuntimeError as error:
                    refused.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert len(refused) == 3

    play(settings, scenario)


def test_what_is_published_while_the_broker_is_away_is_delivered_when_it_is_back(
    settings: BrokerSettings, server: Server
) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        inbox = await peers.consumer()
        await peers.publish(publisher, outgoing(numbered(10, "before")))
        await inbox.wait_for(10)
        await asyncio.sleep(NEW_QUEUE_SECONDS)
        server.kill9()
        confirmed = asyncio.Event()
        publisher.publish(outgoing(numbered(10, "while")), confirmed.set)
        assert not await publisher.drain(0.3)
        await until(lambda: inbox.consumer.state is LinkState.DOWN)
        server.start()
        await until(confirmed.is_set)
        await inbox.wait_for_bodies(numbered(10, "while"))
        assert await publisher.drain(10)

    play(settings, scenario)


def test_both_can_be_closed_while_the_broker_is_away(settings: BrokerSettings, server: Server) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        inbox = await peers.consumer(acks=False)
        await peers.publish(publisher, outgoing(numbered(3)))
        await inbox.wait_for(3)
        await asyncio.sleep(NEW_QUEUE_SECONDS)
        server.kill9()
        publisher.publish(outgoing([b"lost"]))
        async with asyncio.timeout(15):
            await publisher.close()
            await inbox.consumer.close()
        server.start()

    play(settings, scenario)


def _letter(settings: BrokerSettings, body: bytes) -> DirectMessage:
    return DirectMessage(dead_queue_name(settings.namespace, POOL), body, {"taskmesh-reason": "because"})


def test_letters_come_with_their_headers_beside_the_work(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        inbox = await peers.consumer(letters=True)
        await peers.publish(publisher, [*outgoing([b"work"]), _letter(settings, b"dead")])
        await until(lambda: bool(inbox.letters))
        await inbox.wait_for(1)
        [letter] = inbox.letters
        assert (letter.delivery.body, letter.headers["taskmesh-reason"]) == (b"dead", "because")
        assert letter.delivery.queue == dead_queue_name(settings.namespace, POOL)
        assert inbox.bodies == [b"work"]

    play(settings, scenario)


def test_letters_are_left_to_their_queue_unless_somebody_collects_them(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        plain = await peers.consumer(holder="plain")
        await peers.publish(publisher, [_letter(settings, b"dead"), *outgoing(numbered(50))])
        await plain.wait_for(50)
        collector = await peers.consumer(holder="collector", letters=True)
        await until(lambda: bool(collector.letters))
        assert (plain.letters, len(plain.deliveries)) == ([], 50)

    play(settings, scenario)


def test_collecting_stops_and_resumes_and_the_work_goes_on(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        inbox = await peers.consumer(letters=True, acks=False)
        await peers.publish(publisher, [_letter(settings, b"first")])
        await until(lambda: bool(inbox.letters))
        inbox.consumer.collect_letters(False)
        inbox.consumer.requeue([inbox.letters[0].delivery.token])
        await peers.publish(publisher, [_letter(settings, b"second"), *outgoing(numbered(5))])
        await inbox.wait_for(5)
        # Some that were on their way may have come; all are given back.
        inbox.consumer.requeue([letter.delivery.token for letter in inbox.letters[1:]])
        inbox.letters.clear()
        inbox.consumer.collect_letters(True)
        await until(lambda: {letter.delivery.body for letter in inbox.letters} == {b"first", b"second"})
        await peers.publish(publisher, outgoing([b"after"]))
        await inbox.wait_for_bodies([b"after"])

    play(settings, scenario)


def test_a_paused_consumer_collects_nothing_either(settings: BrokerSettings) -> None:
    async def scenario(peers: Peers) -> None:
        publisher = await peers.publisher()
        paused = await peers.consumer(holder="a", letters=True)
        paused.consumer.pause()
        paused.consumer.collect_letters(True)
        await peers.publish(publisher, [_letter(settings, b"dead")])
        other = await peers.consumer(holder="b", letters=True)
        await until(lambda: bool(other.letters) or bool(paused.letters))
        assert paused.letters == []

    play(settings, scenario)
