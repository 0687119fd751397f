"""What tests on real servers share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.harness.processes import Processes
from tests.harness.rabbitmq import RabbitServer
from tests.harness.redis import RedisServer
from tests.integration.aside_bench import Aside
from tests.integration.mesh_bench import MeshBench
from tests.integration.shell import Shell

ROOT = Path(__file__).parents[2]

MakeBench: TypeAlias = Callable[[str, str], MeshBench]


@pytest.fixture
def make_bench(namespace: str, child_processes: Processes, tmp_path: Path) -> Iterator[MakeBench]:
    """Makes a mesh on a broker and a store, by their URLs; it is closed with the test."""
    made: list[MeshBench] = []

    def make(broker_url: str, store_url: str) -> MeshBench:
        made.append(MeshBench({"broker": broker_url, "store": store_url}, namespace, child_processes, tmp_path))
        return made[-1]

    yield make
    for bench in made:
        bench.mesh.close()


@pytest.fixture
def bench(rabbitmq_url: str, redis_url: str, make_bench: MakeBench) -> MeshBench:
    """A mesh on shared servers."""
    return make_bench(rabbitmq_url, redis_url)


@pytest.fixture
def frail_bench(rabbitmq: RabbitServer, redis_server: RedisServer, make_bench: MakeBench) -> MeshBench:
    """A mesh on servers that the test may stop and kill."""
    return make_bench(rabbitmq.url, redis_server.url)


@pytest.fixture
def cluster_bench(rabbitmq_url: str, redis_cluster_url: str, make_bench: MakeBench) -> MeshBench:
    """A mesh on a Redis Cluster of three nodes."""
    return make_bench(rabbitmq_url, redis_cluster_url)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Runs commands in a directory of their own, where no servers are named."""
    for name in ("TASKMESH_BROKER_URL", "TASKMESH_STORE_URL", "TASKMESH_CONFIG", "AMQP_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return Shell(tmp_path)


@pytest.fixture
def aside(bench: MeshBench, tmp_path: Path) -> Iterator[Aside]:
    made = Aside(bench, tmp_path / "aside")
    yield made
    made.mesh.close()


@pytest.fixture
def brief(bench: MeshBench, tmp_path: Path) -> Iterator[Aside]:
    """Runs are kept for a few seconds."""
    made = Aside(bench, tmp_path / "aside", retention_seconds=8)
    yield made
    made.mesh.close()
