"""The workers of an experiment."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.harness.ports import free_port
from tests.harness.processes import Processes
from tests.integration.mesh_bench import Worker
from tests.nemesis.injected import crash_points
from tests.nemesis.injected.crash_points import Trap
from tests.nemesis.lossy_link import LossyLink

APP = "tests.nemesis.app"
COUNTED = ("stale_settlements_total", "redriven_total")
STOP_SECONDS = 60.0


class Crew:
    """Starts workers with two executors each, kills them, and ends them in good order."""

    def __init__(self, children: Processes, directory: Path, root: Path) -> None:
        """``root`` is where the code of the workers is."""
        self._children = children
        self._root = root
        self._directory = directory
        self._workers: list[Worker] = []
        self._gone: Counter[str] = Counter()

    def start(
        self,
        environ: Mapping[str, str],
        arguments: Sequence[str] = (),
        traps: Sequence[Trap] = (),
        link: LossyLink | None = None,
    ) -> Worker:
        """Start one without waiting for it; ``traps`` kill its processes, ``link`` is its only way to others."""
        port = free_port()
        words = ("worker", "-A", APP, "--processes", "2", "--health-port", str(port), *arguments)
        command = [sys.executable, "-X", "dev", "-m", "taskmesh", *words]
        trapped = {**environ, **crash_points.environ_of(self._directory, tuple(traps))}
        if link is None:
            worker = Worker(self._children.start(command, trapped, cwd=self._root), port)
        else:
            behind = {**trapped, "TASKMESH_WORKER__HEALTH_HOST": link.far}
            worker = Worker(self._children.start([*link.enter, *command], behind, cwd=self._root), port, link.far)
        self._workers.append(worker)
        return worker

    def kill(self, worker: Worker) -> None:
        """SIGKILL the supervisor, with which everything below it ends; what it had counted stays counted."""
        self._gone.update({metric: int(worker.metric(metric)) for metric in COUNTED})
        worker.process.kill9()

    def count(self, metric: str) -> int:
        """A counter of COUNTED, over all workers that lived."""
        return self._gone[metric] + int(sum(worker.metric(metric) for worker in self._running()))

    def stop(self) -> None:
        """SIGTERM to all, and wait until they have ended."""
        running = self._running()
        for worker in running:
            worker.process.signal(signal.SIGTERM)
        for worker in running:
            worker.process.wait(STOP_SECONDS)

    def _running(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.process.running]
