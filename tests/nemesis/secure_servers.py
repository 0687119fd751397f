"""RabbitMQ and Redis that speak TLS, and whose certificate can be exchanged while they run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from tests.harness.certificates import Certificate
from tests.harness.ports import free_port
from tests.harness.rabbitmq import RabbitServer
from tests.harness.redis import RedisServer


@dataclass(frozen=True, slots=True)
class SecureServers:
    """Both have a plain port, too: that is how experiments look at them."""

    rabbitmq: RabbitServer
    redis: RedisServer
    broker_port: int
    store_port: int
    authority: Path
    _served: Certificate

    @classmethod
    def begin(cls, stack: ExitStack, directory: Path, authority: Path, first: Certificate) -> SecureServers:
        served = Certificate(directory / "served.pem", directory / "served.key")
        _copy(first, served)
        broker_port, store_port = free_port(), free_port()
        of_rabbitmq = {
            "listeners.ssl.1": f"127.0.0.1:{broker_port}",
            "ssl_options.cacertfile": str(authority),
            "ssl_options.certfile": str(served.path),
            "ssl_options.keyfile": str(served.key),
        }
        of_redis = {
            "tls-port": str(store_port),
            "tls-ca-cert-file": str(authority),
            "tls-cert-file": str(served.path),
            "tls-key-file": str(served.key),
            "tls-auth-clients": "no",
        }
        rabbitmq = stack.enter_context(RabbitServer(overrides=of_rabbitmq))
        store = stack.enter_context(RedisServer(overrides=of_redis))
        return cls(rabbitmq, store, broker_port, store_port, authority, served)

    def serve(self, certificate: Certificate) -> None:
        """Have new connections meet this certificate."""
        _copy(certificate, self._served)
        # RabbitMQ reads the files for each connection, but remembers them for two minutes.
        self.rabbitmq.ctl("eval", "ssl:clear_pem_cache().")
        with redis.Redis(port=self.redis.port) as client:
            client.config_set("tls-cert-file", str(self._served.path), "tls-key-file", str(self._served.key))

    def broker_url(self, authority: Path | None = None, port: int | None = None) -> str:
        return f"amqps://guest:guest@127.0.0.1:{port or self.broker_port}/%2F?cacertfile={authority or self.authority}"

    def store_url(self, authority: Path | None = None, port: int | None = None) -> str:
        return f"rediss://127.0.0.1:{port or self.store_port}/0?ssl_ca_certs={authority or self.authority}"


@contextmanager
def secure_servers(directory: Path, authority: Path, first: Certificate) -> Iterator[SecureServers]:
    with ExitStack() as stack:
        yield SecureServers.begin(stack, directory, authority, first)


def _copy(of: Certificate, to: Certificate) -> None:
    shutil.copy(of.path, to.path)
    shutil.copy(of.key, to.key)
