"""``taskmesh worker``: the supervisor, put together."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from taskmesh.app.assembly import lay_foundation
from taskmesh.config.settings import Settings
from taskmesh.errors import TaskmeshError
from taskmesh.observability.logs import configure
from taskmesh.observability.metrics import Metrics
from taskmesh.worker.supervisor import WorkerPlan, supervise

IO_MODULE = "taskmesh.app.io_process"


def run(settings: Settings, apps: Sequence[str]) -> int:
    """Run a worker until SIGTERM or SIGINT; returns the exit code of ``supervise``."""
    configure(settings.log.level, settings.log.format, sys.stderr)
    try:
        # Holds the embedded server for as long as the worker runs, whatever its children do.
        foundation = lay_foundation(settings)
    except TaskmeshError as error:
        sys.stderr.write(f"taskmesh worker: {error}\n")
        return 2
    worker = settings.worker
    plan = WorkerPlan(
        apps=tuple(apps),
        io_processes=worker.io_processes,
        executors=worker.executors,
        drain_seconds=worker.drain_seconds,
        health_host=worker.health_host,
        health_port=worker.health_port,
        settings=settings.to_mapping(),
        io_module=IO_MODULE,
    )
    try:
        return supervise(plan, Metrics(), foundation.housekeeping.end_holder)
    finally:
        foundation.close()
