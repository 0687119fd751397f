from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from taskmesh.broker.amqp_nodes import AmqpNodes
from taskmesh.broker.amqp_url import parse_amqp_nodes
from taskmesh.broker.factory import open_consumer, open_publisher
from taskmesh.broker.protocol import pool_of_queue
from taskmesh.broker.settings import BrokerSettings
from taskmesh.errors import BrokerUnavailableError, ConfigError


def ignore(error: BrokerUnavailableError) -> None:
    raise AssertionError(error)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"shards": 0}, "broker.shards is 0; it must be 1 or more"),
        ({"shards": 2, "shard_weights": (1,)}, "give one for each shard"),
        ({"shards": 1, "shard_weights": (101,)}, "every weight must be 1 to 100"),
        ({"shards": 1, "shard_weights": (0,)}, "every weight must be 1 to 100"),
        ({"queue_type": "stream"}, "use 'quorum' or 'classic'"),
        ({"quorum_group_size": -1}, "it must be 0 or more"),
        ({"quorum_group_size": 3, "queue_type": "classic"}, "broker.quorum_group_size is for quorum queues"),
        ({"heartbeat_seconds": 1}, "it must be 6 or more"),
        ({"max_unconfirmed": 0}, "broker.max_unconfirmed is 0; it must be more than 0"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match="broker") as refused:
        BrokerSettings(url="amqp://localhost", **change)
    assert sentence in str(refused.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        BrokerSettings(url="amqp://localhost", shards=0, queue_type="x", heartbeat_seconds=0)
    assert len(str(refused.value).splitlines()) == 3


def test_shards_weigh_the_same_unless_told() -> None:
    assert BrokerSettings(url="amqp://localhost", shards=3).weights == (1, 1, 1)
    assert BrokerSettings(url="amqp://localhost", shards=2, shard_weights=(5, 1)).weights == (5, 1)


def test_no_text_of_the_settings_shows_the_password() -> None:
    url = "amqp://user:s3cret@host/vhost"
    assert "s3cret" not in repr(BrokerSettings(url=url))
    [node] = parse_amqp_nodes(url)
    assert "s3cret" not in repr(node) + str(node)


def test_an_amqp_url_is_taken_apart() -> None:
    [url] = parse_amqp_nodes("amqp://us%40er:p%2Fw@rabbit:5673/my%2Fhost")
    assert (url.host, url.port, url.vhost, url.user, url.password) == ("rabbit", 5673, "my/host", "us@er", "p/w")
    assert url.tls is None


def test_an_amqp_url_may_name_all_nodes_of_a_cluster() -> None:
    nodes = parse_amqp_nodes("amqps://me:a,b@one:1,two,[::1]:3/jobs?cacertfile=/ca.pem")
    assert [(node.host, node.port) for node in nodes] == [("one", 1), ("two", 5671), ("::1", 3)]
    assert {(node.user, node.password, node.vhost) for node in nodes} == {("me", "a,b", "jobs")}
    assert str(nodes[2]) == "amqps://[::1]:3"


def test_connections_take_turns_over_the_nodes_and_wait_longer_when_all_have_failed() -> None:
    nodes = AmqpNodes(BrokerSettings(url="amqp://one,two,three"), "test")
    met = []
    for _ in range(6):
        met.append((nodes.url.host, nodes.parameters.host))
        nodes.turn()
    assert met[:3] == met[3:]
    assert sorted(met[:3]) == [(host, host) for host in ("one", "three", "two")]
    assert [nodes.rounds(failures) for failures in range(8)] == [0, 1, 1, 1, 2, 2, 2, 3]


def test_an_amqp_url_has_the_defaults_of_rabbitmq() -> None:
    [url] = parse_amqp_nodes("amqp://")
    assert (url.host, url.port, url.vhost, url.user, url.password) == ("localhost", 5672, "/", "guest", "guest")
    [secure] = parse_amqp_nodes("amqps://rabbit?cacertfile=/ca.pem")
    assert (secure.port, secure.tls) == (5671, {"cacertfile": "/ca.pem"})
    assert {secure: "the doctor counts by address"}


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("amqps://host?cafile=x", "the unknown key 'cafile'; known are cacertfile"),
        ("amqp://host?cacertfile=x", "write amqps://"),
        ("amqp://host:http", "a port that is not a number"),
        ("amqp://one:1,two:99999", "for the host 'two', a port that is not a number from 1 to 65535"),
        ("amqp://one:1,,two:2", "an empty host"),
        ("amqps://host?cacertfile=/none.pem", "a certificate that cannot be used"),
        ("http://host", "begins with 'http://'; known are amqp://, amqps://, redis://"),
        ("localhost:5672", "known are amqp://"),
    ],
)
def test_a_url_that_cannot_be_is_refused(url: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        open_publisher(BrokerSettings(url=url), ignore)
    assert sentence in str(refused.value)
    with pytest.raises(ConfigError):
        open_consumer(BrokerSettings(url=url), ["default"], "holder", ignore, prefetch=1)


def test_a_queue_knows_its_pool() -> None:
    assert pool_of_queue("mesh", "mesh.default.3") == "default"
    assert pool_of_queue("mesh", "mesh.big.files.dead") == "big.files"
    assert pool_of_queue("mesh", "other.default.3") is None
    assert pool_of_queue("mesh", "mesh.loose") is None


def test_the_factory_loads_no_driver() -> None:
    program = "import sys, taskmesh.broker.factory; print(*{'pika', 'kombu', 'redis'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
