"""The servers that tests run against.

``TASKMESH_TEST_BROKER_URL`` and ``TASKMESH_TEST_STORE_URL`` name servers to use instead of own ones; they are
only talked to. What a test stops or kills is always a server that the test run started itself.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.harness.leftovers import leftovers_ended
from tests.harness.processes import Processes, processes
from tests.harness.rabbitmq import RabbitServer, find_scripts
from tests.harness.rabbitmq_cluster import RabbitCluster
from tests.harness.redis import RedisServer, bundled_valkey, find_binary
from tests.harness.redis_cluster import RedisCluster
from tests.harness.redis_sentinels import RedisSentinels
from tests.harness.server import Server

BROKER_VARIABLE = "TASKMESH_TEST_BROKER_URL"
STORE_VARIABLE = "TASKMESH_TEST_STORE_URL"

# What an example takes is the load of the machine; where a property is about time, it says so itself.
settings.register_profile("untimed", settings.default, deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _leftovers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No process outlives the test run, however that ends."""
    with leftovers_ended(tmp_path_factory.getbasetemp()):
        yield


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitServer]:
    """A RabbitMQ that tests may stop, kill and wipe."""
    if find_scripts() is None:
        _missing("rabbitmq-server", BROKER_VARIABLE)
    with RabbitServer() as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_url(request: pytest.FixtureRequest) -> str:
    """A RabbitMQ that others may share."""
    given = os.environ.get(BROKER_VARIABLE)
    if given:
        return given
    server: RabbitServer = request.getfixturevalue("rabbitmq")
    return server.url


@pytest.fixture(scope="session")
def rabbitmq_cluster() -> Iterator[RabbitCluster]:
    """Three RabbitMQ nodes that tests may kill and stop, and have to start again."""
    if find_scripts() is None:
        _missing("rabbitmq-server", BROKER_VARIABLE)
    with RabbitCluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis that tests may stop, kill and wipe."""
    if find_binary() is None:
        _missing("redis-server", STORE_VARIABLE)
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest) -> str:
    """A Redis that others may share."""
    given = os.environ.get(STORE_VARIABLE)
    if given:
        return given
    server: RedisServer = request.getfixturevalue("redis_server")
    return server.url


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[RedisServer]:
    """The Valkey of embedded mode."""
    with RedisServer(bundled_valkey()) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_url(valkey_server: RedisServer) -> str:
    return valkey_server.url


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    """A Redis Cluster of three nodes."""
    with RedisCluster(find_binary() or bundled_valkey()) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def redis_cluster_url(redis_cluster: RedisCluster) -> str:
    return redis_cluster.url


@pytest.fixture
def redis_sentinels() -> Iterator[RedisSentinels]:
    """A primary, a replica and three sentinels, of this test alone."""
    if find_binary() is None:
        _missing("redis-server", STORE_VARIABLE)
    with RedisSentinels() as group:
        yield group


@pytest.fixture
def namespace() -> str:
    """A namespace of the test's own, so that tests can share a server."""
    return f"t{secrets.token_hex(5)}"


@pytest.fixture
def child_processes(tmp_path: Path) -> Iterator[Processes]:
    """Starts child processes that end with the test."""
    with processes(tmp_path) as group:
        yield group


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show, under a failed test, what its servers and child processes printed."""
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, Processes | RabbitCluster | RedisCluster | RedisSentinels | Server):
                report.sections.append((f"output of {name}", value.tail()))
    return report


def _missing(program: str, variable: str) -> None:
    """Skip where the caller gave servers of his own, which no test may stop; fail otherwise."""
    if os.environ.get(variable):
        pytest.skip(f"this test stops and kills its server: it needs {program} on this machine, not {variable}")
    pytest.fail(f"{program} is not installed; ./scripts/test finds or gets it", pytrace=False)
