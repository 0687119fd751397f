"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import pika
import psutil
import redis

from scripts.benchmark.servers import RABBIT_SETTINGS, Servers


def machine_facts(servers: Servers) -> dict[str, str]:
    """The machine, the interpreter, the servers and their settings."""
    return {
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores",
        "Memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "System": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Libraries": ", ".join(f"{name} {version(name)}" for name in ("pika", "redis", "hiredis", "msgpack")),
        "RabbitMQ": f"{_rabbit_version(servers.broker_url)}; one node, {_settings(RABBIT_SETTINGS)}, 2 schedulers",
        "Redis": _redis_facts(servers.redis_url),
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    return found.group(1) if found else platform.processor() or platform.machine()


def _rabbit_version(url: str) -> str:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    properties = connection._impl.server_properties
    connection.close()
    assert properties is not None
    return f"{properties['version']} on {properties['platform']}"


def _redis_facts(url: str) -> str:
    client = redis.Redis.from_url(url, decode_responses=True)
    settings = {name: client.config_get(name)[name] for name in ("appendonly", "appendfsync", "maxmemory-policy")}
    found = f"{client.info('server')['redis_version']}; {_settings(settings)}"
    client.close()
    return found


def _settings(settings: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
