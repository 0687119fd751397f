"""``taskmesh worker``: the supervisor, put together."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from taskmesh.app.assembly import lay_foundation
from taskmesh.config.settings import Settings
from taskmesh.errors import TaskmeshError
from taskmesh.observability.logs import configure
from taskmesh.observability.metrics import Metrics
from taskmesh.worker.supervisor import EXIT_FATAL, run_worker


def run(settings: Settings, apps: Sequence[str]) -> int:
    """Run a worker until SIGTERM or SIGINT; returns the exit code of ``run_worker``."""
    configure(settings.log.level, settings.log.format, sys.stderr)
    try:
        # Holds the embedded server for as long as the worker runs, whatever its children do.
        foundation = lay_foundation(settings)
    except TaskmeshError as error:
        sys.stderr.write(f"taskmesh worker: {error}\n")
        return EXIT_FATAL
    try:
        return run_worker(settings, apps, Metrics(), foundation.housekeeping.end_holder)
    finally:
        foundation.close()
