"""Goes through everything that was asked for and fills a report."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from scripts.benchmark.facts import machine_facts
from scripts.benchmark.figures import Figure, median_of
from scripts.benchmark.own import taskmesh
from scripts.benchmark.peers import PEERS, Peer, PeerUnavailableError
from scripts.benchmark.raw import measure_raw_limit
from scripts.benchmark.report import Figures, Report
from scripts.benchmark.resources import import_milliseconds, memory_over_tasks
from scripts.benchmark.scale import measure_scale
from scripts.benchmark.servers import Servers
from scripts.benchmark.session import Session, running
from scripts.benchmark.systems.spec import Spec
from scripts.benchmark.tables import number, show
from scripts.benchmark.workloads import WORKLOADS, Workload, quick

RAW, IMPORT, MEMORY = "raw", "import", "memory"
NAMES = (RAW, *(workload.name for workload in WORKLOADS), IMPORT, MEMORY)


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for."""

    only: tuple[str, ...]  # everything when empty
    repeat: int
    quick: bool
    io_counts: tuple[int, ...]
    own: bool
    peers: tuple[str, ...]
    scale: bool
    soak: bool
    montage: Path | None
    profile: Path | None
    command: str

    @property
    def is_full(self) -> bool:
        """Whether its figures may stand on the page: all of taskmesh, at full size, with no profiler in the way."""
        return self.own and not (self.only or self.quick or self.profile)

    def wants(self, name: str) -> bool:
        return not self.only or name in self.only

    @property
    def raw_seconds(self) -> float:
        return 1.5 if self.quick else 4.0

    def workloads(self, spec: Spec) -> list[Workload]:
        """What this system shall do, in the sizes that are right for it."""
        wanted = [workload for workload in WORKLOADS if self.wants(workload.name) and workload.name in spec.sizes]
        sized = [workload.sized(spec.sizes[workload.name] or workload.size) for workload in wanted]
        return [quick(workload) for workload in sized] if self.quick else sized


class Runner:
    """Measures on servers that run already."""

    def __init__(self, plan: Plan, servers: Servers, logs: Path) -> None:
        self._plan = plan
        self._servers = servers
        self._logs = logs
        self.report = Report(machine_facts(servers), plan.command)

    def run(self) -> Report:
        for io_processes in self._plan.io_counts:
            self._rates(io_processes)
        if self._plan.own:
            self._resources(self._own(self._plan.io_counts[0]))
        for peer in PEERS:
            if peer.name in self._plan.peers:
                self._peer(peer)
        return self.report

    def _own(self, io_processes: int) -> Spec:
        return taskmesh(self._servers, io_processes, self._plan.montage, self._plan.profile)

    def _rates(self, io_processes: int) -> None:
        """The raw limit, and taskmesh beside it in the same rounds."""
        limits: list[float] = []

        def raw() -> None:
            limits.append(measure_raw_limit(self._servers.broker_url, io_processes, self._plan.raw_seconds))
            _say(f"raw limit, {io_processes} I/O: {number(limits[-1])}/s")

        spec = self._own(io_processes)
        if self._plan.own and self._plan.workloads(spec):
            self.report.workloads[io_processes] = self._system(spec, raw)
        elif self._plan.wants(RAW):
            for _ in range(self._plan.repeat):
                raw()
        if limits:
            self.report.raw_limits[io_processes] = median(limits)

    def _resources(self, spec: Spec) -> None:
        """In a worker of its own: what others did before must not count."""
        if self._plan.wants(IMPORT):
            self.report.import_ms = import_milliseconds()
        if self._plan.soak or self._plan.wants(MEMORY):
            with running(spec, self._logs) as session:
                self.report.memory_mb = memory_over_tasks(session, self._plan.soak)
        if self._plan.scale:
            with running(spec, self._logs) as session:
                self.report.scale = measure_scale(session)

    def _peer(self, peer: Peer) -> None:
        try:
            peer.install()
        except PeerUnavailableError as error:
            self.report.skipped[peer.name] = str(error)
            _say(f"{peer.name} is skipped: {error}")
            return
        self.report.peers[peer.name] = self._system(peer.spec(self._servers), lambda: None)

    def _system(self, spec: Spec, before_each: Callable[[], None]) -> Figures:
        self.report.settings[spec.name] = spec.settings
        with running(spec, self._logs) as session:
            return self._rounds(spec, session, before_each)

    def _rounds(self, spec: Spec, session: Session, before_each: Callable[[], None]) -> Figures:
        found: defaultdict[str, list[Figure]] = defaultdict(list)
        workloads = self._plan.workloads(spec)
        for workload in workloads:
            session.warm_up(workload)
        for _ in range(self._plan.repeat):
            before_each()
            for workload in workloads:
                found[workload.name].append(session.measure(workload))
                _say(f"{spec.name} {workload.name}: {show(found[workload.name][-1])}")
        return {name: median_of(figures) for name, figures in found.items()}


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
