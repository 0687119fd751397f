"""Runs workloads on one system."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmark.children import DriverProcess, Worker
from scripts.benchmark.figures import Figure, of_latencies
from scripts.benchmark.systems.spec import Spec
from scripts.benchmark.workloads import WARM_UP_DIVISOR, Kind, Workload


@dataclass(frozen=True, slots=True)
class Session:
    """A running system. Workers are frozen and thawed around what is timed."""

    workers: tuple[Worker, ...]
    driver: DriverProcess

    def warm_up(self, workload: Workload) -> None:
        """Do a little of it, untimed."""
        size = max(1, workload.size // WARM_UP_DIVISOR)
        if workload.kind is Kind.LATENCY:
            self.driver.ask("latencies", workload=workload.action, size=size)
        else:
            self.driver.ask("submit", workload=workload.action, size=size)
            self.driver.ask("wait")
        self.clear()

    def measure(self, workload: Workload) -> Figure:
        """Do all of it once."""
        figure = self._latencies(workload) if workload.kind is Kind.LATENCY else self._rate(workload)
        self.clear()
        return figure

    def fill(self, workload: Workload) -> float:
        """Submit it while the workers are frozen, and thaw them; gives the seconds that the driver took."""
        with ExitStack() as frozen:
            for worker in self.workers:
                frozen.enter_context(worker.frozen())
            return float(self.driver.ask("submit", workload=workload.action, size=workload.size)["seconds"])

    def drain(self) -> float:
        """To be called at once after ``fill``: seconds until all that was submitted has ended."""
        begun = time.perf_counter()
        self.driver.ask("wait")
        return time.perf_counter() - begun

    def clear(self) -> None:
        """Have the driver look at every result, and forget them."""
        self.driver.ask("clear")

    def _rate(self, workload: Workload) -> Figure:
        submit_seconds, drain_seconds = self.fill(workload), self.drain()
        seconds = submit_seconds if workload.kind is Kind.SUBMIT else drain_seconds
        return Figure(workload.size, per_second=workload.total / seconds)

    def _latencies(self, workload: Workload) -> Figure:
        asked = [
            self.driver.ask("latencies", workload=workload.action, size=workload.size) for _ in range(workload.turns)
        ]
        return of_latencies(workload.size, [seconds for answer in asked for seconds in answer["seconds"]])


@contextmanager
def running(spec: Spec, logs: Path) -> Iterator[Session]:
    """Start a system and end it."""
    logs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as ends:
        workers = []
        for number, command in enumerate(spec.workers):
            workers.append(Worker(command, spec.env, logs / f"{spec.name}-worker-{number}.log"))
            ends.callback(workers[-1].stop)
        driver = DriverProcess(spec.driver, spec.env, logs / f"{spec.name}-driver.log", workers)
        ends.callback(driver.stop)
        yield Session(tuple(workers), driver)
