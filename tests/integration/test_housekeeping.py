"""What a worker asks the store for other reasons than its nodes holds up no node: none of it is asked on the loop."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from taskmesh import Mesh, Retry, current_task
from taskmesh.store.link import Command, DirectLink, Reply

LOOP = "taskmesh-worker"
"""The thread of the loop of a worker inside a process."""

PATIENCE_SECONDS = 60.0
SCHEDULING = {"fire_schedule", "admit_run", "settle_tick", "relieve_schedule"}
HOUSEKEEPING = {"renew_holder", "lead_partition", "wake_node", "TIME", "SPOP", "ZADD", "ZRANGEBYSCORE", "HSET", "HMGET"}
"""Leases, keepers, timers, questions, pools, what is due, probes, halts."""


class Log:
    """Which thread asked the store what and waited for the answer."""

    def __init__(self) -> None:
        self.asked: defaultdict[str, set[str]] = defaultdict(set)

    def wrap(self, exchange: Callable[[DirectLink, Sequence[Command]], list[Reply]]) -> Callable[..., list[Reply]]:
        def noting(link: DirectLink, commands: Sequence[Command]) -> list[Reply]:
            thread = threading.current_thread().name
            self.asked[thread].update(each.script.name if each.script else str(each.arguments[0]) for each in commands)
            return exchange(link, commands)

        return noting

    @property
    def beside_the_loop(self) -> set[str]:
        return set().union(*(asked for thread, asked in list(self.asked.items()) if thread.startswith("asyncio")))


def test_nothing_but_nodes_is_asked_on_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    monkeypatch.setattr(DirectLink, "exchange", log.wrap(DirectLink.exchange))
    mesh = Mesh(
        embedded={"directory": str(tmp_path / "store")},
        worker={"lease_seconds": 3},
        store={"socket_timeout_seconds": 1},
    )
    released = threading.Event()

    @mesh.task(retry=Retry(max_attempts=2, wait="fixed", base_seconds=0.2))
    def long_and_flaky() -> None:
        if current_task().attempt == 1:
            raise ValueError("not yet")
        released.wait(PATIENCE_SECONDS)

    @mesh.task
    def waits() -> None:
        released.wait(PATIENCE_SECONDS)

    wanted = HOUSEKEEPING | SCHEDULING
    try:
        with mesh.local_worker():
            mesh.schedule(waits, id="often", every_seconds=1, overlap="buffer_one")
            log.asked.clear()
            run = mesh.submit(long_and_flaky)
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not log.beside_the_loop >= wanted:
                assert time.monotonic() < deadline, f"never asked: {wanted - log.beside_the_loop}"
                time.sleep(0.02)
            released.set()
            run.result(timeout=PATIENCE_SECONDS)
            assert log.asked[LOOP] == set()
    finally:
        mesh.close()
