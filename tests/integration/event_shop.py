"""Somebody who sends events over AMQP, and who waits for what comes of them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from taskmesh.broker.protocol import inbound_events_name
from tests.contract.broker_peers import administer
from tests.integration.mesh_bench import MeshBench, Worker
from tests.nemesis.injected import crash_points
from tests.nemesis.injected.crash_points import Trap, environ_of

PATIENCE_SECONDS = 90.0
INJECTED = Path(crash_points.__file__).parent


class Shop:
    """Knows AMQP and nothing of taskmesh."""

    def __init__(self, bench: MeshBench) -> None:
        self._url = bench.environ["TASKMESH_BROKER_URL"]
        self.name = inbound_events_name(bench.environ["TASKMESH_NAMESPACE"])

    def send(self, *bodies: bytes) -> None:
        def publish(channel: Any) -> None:
            channel.confirm_delivery()
            for body in bodies:
                channel.basic_publish(self.name, "order.created", body, mandatory=True)

        administer(self._url, publish)

    def waiting(self) -> int:
        counts: list[int] = []
        administer(
            self._url,
            lambda channel: counts.append(channel.queue_declare(self.name, passive=True).method.message_count),
        )
        return counts[0]


def await_some(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)


def doomed_workers(bench: MeshBench, directory: Path, trap: Trap) -> list[Worker]:
    """Two workers, each of which steps into the trap."""
    path = os.pathsep.join([str(INJECTED), *sys.path])
    return [bench.worker(env={**environ_of(directory, (trap,)), "PYTHONPATH": path}) for _ in range(2)]
