"""What tests on real servers share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.processes import Processes
from tests.harness.rabbitmq import RabbitServer
from tests.harness.redis import RedisServer
from tests.integration.mesh_bench import MeshBench


@pytest.fixture
def bench(
    rabbitmq_url: str, redis_url: str, namespace: str, child_processes: Processes, tmp_path: Path
) -> Iterator[MeshBench]:
    """A mesh on shared servers."""
    bench = MeshBench({"broker": rabbitmq_url, "store": redis_url}, namespace, child_processes, tmp_path)
    yield bench
    bench.mesh.close()


@pytest.fixture
def frail_bench(
    rabbitmq: RabbitServer, redis_server: RedisServer, namespace: str, child_processes: Processes, tmp_path: Path
) -> Iterator[MeshBench]:
    """A mesh on servers that the test may stop and kill."""
    servers = {"broker": rabbitmq.url, "store": redis_server.url}
    bench = MeshBench(servers, namespace, child_processes, tmp_path)
    yield bench
    bench.mesh.close()


@pytest.fixture
def cluster_bench(
    rabbitmq_url: str, redis_cluster_url: str, namespace: str, child_processes: Processes, tmp_path: Path
) -> Iterator[MeshBench]:
    """A mesh on a Redis Cluster of three nodes."""
    bench = MeshBench({"broker": rabbitmq_url, "store": redis_cluster_url}, namespace, child_processes, tmp_path)
    yield bench
    bench.mesh.close()
