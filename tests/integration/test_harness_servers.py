"""The harness itself: its servers serve, keep their data through a kill, and leave nothing behind."""

from __future__ import annotations

import socket

import pika
import redis
from redis.cluster import RedisCluster as ClusterClient

from tests.harness.rabbitmq import RabbitServer
from tests.harness.redis import RedisServer, bundled_valkey
from tests.harness.redis_cluster import RedisCluster


def test_rabbitmq_keeps_a_confirmed_message_through_a_kill(rabbitmq: RabbitServer, namespace: str) -> None:
    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare(namespace, durable=True, arguments={"x-queue-type": "quorum"})
        channel.exchange_declare(f"{namespace}.hash", "x-consistent-hash", durable=True)
        channel.queue_bind(namespace, f"{namespace}.hash", "10")
        channel.basic_publish(f"{namespace}.hash", "any", b"kept", mandatory=True)
    rabbitmq.settle()
    rabbitmq.kill9()
    rabbitmq.restart()
    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as connection:
        _, _, body = connection.channel().basic_get(namespace, auto_ack=True)
    assert body == b"kept"


def test_rabbitmq_without_the_plugin_and_wiped(namespace: str) -> None:
    with RabbitServer(plugins=False) as server:
        assert "rabbitmq_consistent_hash_exchange" not in server.ctl("list", "-e", "-m", tool="rabbitmq-plugins")
        with pika.BlockingConnection(pika.URLParameters(server.url)) as connection:
            connection.channel().queue_declare(namespace, durable=True)
        server.wipe()
        assert namespace not in server.ctl("list_queues", "name")
    assert not _accepts(server.port)
    assert not _accepts(server.epmd_port)
    assert not server.directory.exists()


def test_redis_keeps_its_data_through_a_kill() -> None:
    _keeps_its_data(RedisServer(fsync="always"))


def test_valkey_keeps_its_data_through_a_kill() -> None:
    _keeps_its_data(RedisServer(bundled_valkey(), fsync="always"))


def _keeps_its_data(server: RedisServer) -> None:
    with server:
        with redis.Redis.from_url(server.unix_url) as client:
            client.set("key", "kept")
        server.kill9()
        server.restart()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("key") == b"kept"
        server.wipe()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("key") is None
    assert not server.directory.exists()


def test_the_cluster_serves_every_slot(redis_cluster: RedisCluster, namespace: str) -> None:
    with ClusterClient(host="127.0.0.1", port=redis_cluster.nodes[0].port) as client:
        for place in range(50):
            client.set(f"{namespace}:{place}", place)
        assert sum(int(client.get(f"{namespace}:{place}") or 0) for place in range(50)) == sum(range(50))


def _accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
