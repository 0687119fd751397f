"""The configuration files that are shipped for servers: real servers take them."""

from __future__ import annotations

import json
from pathlib import Path

import redis

from tests.harness.rabbitmq import RabbitServer
from tests.harness.redis import RedisServer, bundled_valkey

CONFIGS = Path(__file__).parents[2] / "configs"


def settings(path: Path, separator: str) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {key.strip(): value.strip() for key, _, value in (line.partition(separator) for line in lines)}


def test_redis_and_valkey_take_the_file() -> None:
    for binary in (None, bundled_valkey()):
        with (
            RedisServer(binary, overrides=settings(CONFIGS / "redis/redis.conf", " ")) as server,
            redis.Redis.from_url(server.url, decode_responses=True) as client,
        ):
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("appendonly") == {"appendonly": "yes"}


def test_rabbitmq_takes_the_file_the_plugins_and_the_definitions() -> None:
    overrides = settings(CONFIGS / "rabbitmq/rabbitmq.conf", "=")
    # The machine that tests run on may have less room than a server of one's own.
    overrides["disk_free_limit.absolute"] = "50MB"
    with RabbitServer(overrides=overrides) as server:
        known = server.ctl("list", "-m", tool="rabbitmq-plugins").split()
        wanted = (CONFIGS / "rabbitmq/enabled_plugins").read_text().strip("[].\n").split(",")
        assert set(wanted) <= set(known)
        definitions = CONFIGS / "rabbitmq/definitions.json"
        server.ctl("import_definitions", str(definitions))
        assert "taskmesh" in server.ctl("list_vhosts", "name").split()
        (policy,) = json.loads(definitions.read_text())["policies"]
        assert policy["name"] in server.ctl("list_policies", "-p", "taskmesh")
