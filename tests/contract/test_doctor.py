"""What the doctor finds on real servers, and that a worker's start agrees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pika
import pytest
import redis

from taskmesh.broker.amqp_inspection import inspect_rabbitmq
from taskmesh.broker.settings import BrokerSettings
from taskmesh.errors import StoreRefusedError
from taskmesh.model.checkup.findings import Finding, Severity
from taskmesh.model.checkup.redis_rules import judge_redis
from taskmesh.store.inspection import inspect_servers, refuse_unsafe
from taskmesh.store.keys import Keys
from taskmesh.store.opening import open_link
from tests.contract.broker_peers import POOL, administer, delete_pool
from tests.harness.rabbitmq import RabbitServer
from tests.harness.redis import RedisServer

FREE_WATERMARK = "1GB"


def found_on(url: str, namespace: str, durability: str = "everysec") -> dict[str, Finding]:
    """The findings that are neither well nor about a version, by their ids; the start refuses what they refuse."""
    link, keys = open_link(url, 2.0, 5.0), Keys(namespace, 4)
    try:
        findings = [f for facts in inspect_servers(link, keys) for f in judge_redis(facts, durability, namespace)]
        refused = [each.sentence for each in findings if each.severity is Severity.REFUSED]
        if refused:
            with pytest.raises(StoreRefusedError) as caught:
                refuse_unsafe(link, keys, durability)
            assert str(caught.value).splitlines() == refused
        else:
            refuse_unsafe(link, keys, durability)
    finally:
        link.close()
    return {each.id: each for each in findings if each.severity is not Severity.WELL and each.id != "redis.holes"}


@contextmanager
def configured(url: str, settings: Mapping[str, str]) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(url) as client:
        before: dict[str, Any] = {name: client.config_get(name)[name] for name in settings}
        for name, value in settings.items():
            client.config_set(name, value)
        try:
            yield client
        finally:
            for name, value in before.items():
                client.config_set(name, value)


@pytest.mark.parametrize("server", ["redis_url", "valkey_url"])
def test_servers_as_the_configuration_files_have_them_are_well(
    server: str, namespace: str, request: pytest.FixtureRequest
) -> None:
    assert found_on(request.getfixturevalue(server), namespace) == {}


@pytest.mark.parametrize(
    ("settings", "durability", "id"),
    [
        ({"appendfsync": "everysec"}, "always", "redis.durability"),
        ({"appendfsync": "no"}, "everysec", "redis.durability"),
        ({"appendonly": "no"}, "everysec", "redis.durability"),
        ({"maxmemory-policy": "allkeys-lru"}, "everysec", "redis.eviction"),
    ],
)
def test_a_server_that_keeps_less_than_is_promised_is_refused(
    settings: dict[str, str], durability: str, id: str, redis_server: RedisServer, namespace: str
) -> None:
    with configured(redis_server.url, settings):
        found = found_on(redis_server.url, namespace, durability)
    assert {each.severity for each in found.values()} == {Severity.REFUSED}
    assert set(found) == {id}


def test_no_durability_is_only_had_when_asked_for(redis_server: RedisServer, namespace: str) -> None:
    with configured(redis_server.url, {"appendonly": "no"}):
        found = found_on(redis_server.url, namespace, "none")
    assert found["redis.durability"].severity is Severity.WARNING


def test_memory_that_is_nearly_full_is_told_before_it_is(redis_server: RedisServer, namespace: str) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        used = client.info("memory")["used_memory"]
    with configured(redis_server.url, {"maxmemory": str(int(used * 1.1))}):
        assert found_on(redis_server.url, namespace)["redis.memory"].severity is Severity.WARNING


def test_a_user_with_too_few_permissions_is_told_which(redis_server: RedisServer, namespace: str) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.execute_command(
            "ACL", "SETUSER", namespace, "on", ">pw", f"~{namespace}:*", "&nothing", "+@all", "-config", "-xadd"
        )
        try:
            url = redis_server.url.replace("://", f"://{namespace}:pw@")
            found = found_on(url, namespace)
            elsewhere = found_on(url, f"{namespace}x")
            client.execute_command("ACL", "SETUSER", namespace, f"&{namespace}:*", "+xadd")
            granted = found_on(url, namespace)
        finally:
            client.execute_command("ACL", "DELUSER", namespace)
        # Nothing that was tried stays: what is not gone yet, is about to be.
        assert -1 not in [client.pttl(key) for key in client.scan_iter(f"{namespace}*", count=10_000)]
    refused = found["redis.permissions"]
    assert "may not run SPUBLISH, XADD on keys" in refused.what
    assert f"ACL SETUSER {namespace} '~{namespace}:*' '&{namespace}:*' +spublish +xadd" in refused.mend
    assert found["redis.durability"].severity is Severity.UNCHECKED
    assert "HSET" in elsewhere["redis.permissions"].what
    assert set(granted) == {"redis.durability"}


def test_a_replica_is_not_taken_for_a_primary(redis_server: RedisServer, namespace: str) -> None:
    with RedisServer(overrides={"replicaof": f"127.0.0.1 {redis_server.port}"}) as replica:
        assert found_on(replica.url, namespace)["redis.role"].severity is Severity.BROKEN


def test_every_server_of_a_cluster_is_looked_at(redis_cluster_url: str, namespace: str) -> None:
    link = open_link(redis_cluster_url, 2.0, 5.0)
    try:
        servers = inspect_servers(link, Keys(namespace, 64))
    finally:
        link.close()
    assert len({facts.server for facts in servers}) == len(servers) == 3


@pytest.fixture(scope="module")
def managed() -> Iterator[RabbitServer]:
    with RabbitServer(management=True) as server:
        yield server


@pytest.fixture
def settings(managed: RabbitServer, namespace: str) -> Iterator[BrokerSettings]:
    settings = BrokerSettings(url=managed.url, namespace=namespace, shards=2, confirm_timeout_seconds=20)
    yield settings
    administer(managed.url, lambda channel: delete_pool(channel, settings))


def examined(settings: BrokerSettings, management_url: str | None = None) -> dict[str, Finding]:
    """The findings about anything but versions, by their ids."""
    findings = inspect_rabbitmq(settings, (POOL,), management_url)
    of_versions = ("rabbitmq.maintenance", "rabbitmq.holes")
    return {each.id: each for each in findings if each.severity is not Severity.WELL and each.id not in of_versions}


def declare(settings: BrokerSettings, queue_type: str) -> None:
    name = f"{settings.namespace}.{POOL}.0"
    administer(
        settings.url,
        lambda channel: channel.queue_declare(name, durable=True, arguments={"x-queue-type": queue_type}),
    )


def queues_of(server: RabbitServer) -> list[str]:
    return [line for line in server.ctl("list_queues", "name").splitlines() if "doctor" in line]


def test_a_rabbitmq_that_is_well_leaves_only_what_it_does_not_tell(
    settings: BrokerSettings, managed: RabbitServer
) -> None:
    assert set(examined(settings)) == {"rabbitmq.leaders"}
    assert set(examined(settings, managed.management_url)) == set()
    assert queues_of(managed) == []


def test_of_several_nodes_one_may_be_away(settings: BrokerSettings) -> None:
    away = replace(settings, url=settings.url.replace("@", "@127.0.0.1:1,"))
    assert examined(away)["rabbitmq.reachable"].severity is Severity.WARNING


def test_a_queue_with_other_settings_is_refused_as_at_a_start(settings: BrokerSettings) -> None:
    declare(settings, "classic")
    found = examined(settings)["rabbitmq.queues"]
    assert found.severity is Severity.REFUSED
    assert "made with other settings" in found.what


def test_an_alarm_is_seen_by_publishing_and_by_the_api(settings: BrokerSettings, managed: RabbitServer) -> None:
    managed.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        assert examined(settings)["rabbitmq.alarm"].severity is Severity.BROKEN
        managed.process.wait_for(
            lambda: "memory of" in examined(settings, managed.management_url)["rabbitmq.alarm"].what,
            "alarm in the management API",
            60,
        )
    finally:
        managed.ctl("set_vm_memory_high_watermark", "absolute", FREE_WATERMARK)


def test_a_user_who_may_not_declare_is_told_so(settings: BrokerSettings, managed: RabbitServer) -> None:
    managed.ctl("add_user", settings.namespace, "pw")
    try:
        url = settings.url.replace("guest:guest", f"{settings.namespace}:pw")
        theirs = BrokerSettings(url=url, namespace=settings.namespace, shards=2)
        assert examined(theirs)["rabbitmq.login"].severity is Severity.REFUSED
        managed.ctl("set_permissions", settings.namespace, "nothing", ".*", ".*")
        assert "too few permissions" in examined(theirs)["rabbitmq.permissions"].what
    finally:
        managed.ctl("delete_user", settings.namespace)


def test_a_management_api_that_refuses_or_is_away_is_told(settings: BrokerSettings, managed: RabbitServer) -> None:
    refused = examined(settings, managed.management_url.replace("guest:guest", "guest:wrong"))["rabbitmq.leaders"]
    away = examined(settings, "http://127.0.0.1:1")["rabbitmq.leaders"]
    assert "answers 401" in refused.what
    assert "does not answer" in away.what
    assert {refused.severity, away.severity} == {Severity.UNCHECKED}


def test_a_server_without_the_plugin_is_refused(namespace: str) -> None:
    with RabbitServer(plugins=False) as server:
        found = examined(BrokerSettings(url=server.url, namespace=namespace, shards=2))
    assert found["rabbitmq.plugin"].mend.endswith("rabbitmq-plugins enable rabbitmq_consistent_hash_exchange")
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        administer(server.url, lambda channel: None)
    gone = examined(BrokerSettings(url=server.url, namespace=namespace, shards=2))
    assert gone["rabbitmq.reachable"].severity is Severity.BROKEN
