"""What taskmesh costs while it does nothing useful: importing it, and the memory of a worker's processes."""

from __future__ import annotations

import subprocess
import sys
from statistics import median

import psutil

from scripts.benchmark.children import PROJECT
from scripts.benchmark.session import Session
from scripts.benchmark.workloads import Kind, Workload

IMPORTS = 10
IMPORT_CODE = "import time; begun = time.perf_counter(); from taskmesh import Mesh; print(time.perf_counter() - begun)"
SIZE, SOAK_SIZE = 1_000, 200_000
SUBMITTED_AT_ONCE = 20_000
MEGABYTE = 1_000_000


def import_milliseconds() -> float:
    """The median of cold processes that do what a producer app does first: import the mesh."""
    return 1000 * median(_import_seconds() for _ in range(IMPORTS))


def _import_seconds() -> float:
    done = subprocess.run([sys.executable, "-c", IMPORT_CODE], cwd=PROJECT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def memory_megabytes(session: Session) -> dict[str, float]:
    """The largest resident process of each role in the worker."""
    largest: dict[str, float] = {}
    for worker in session.workers:
        for process in worker.tree():
            role = _role(process)
            largest[role] = max(largest.get(role, 0.0), process.memory_info().rss / MEGABYTE)
    return {role: round(size, 1) for role, size in largest.items()}


def memory_over_tasks(session: Session, soak: bool) -> dict[str, dict[str, float]]:
    """Memory by role, after so many tasks; a soak goes on to many more."""
    done = 0
    found = {}
    for size in (SIZE, SOAK_SIZE) if soak else (SIZE,):
        while done < size:
            some = min(SUBMITTED_AT_ONCE, size - done)
            session.measure(Workload("single", "runs of one node", Kind.DRAIN, some))
            done += some
        found[str(size)] = memory_megabytes(session)
    return found


def _role(process: psutil.Process) -> str:
    command = " ".join(process.cmdline())
    if "io_process" in command:
        return "io"
    return "executor" if "taskmesh.worker.executors.main" in command else "supervisor"
