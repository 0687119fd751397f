"""``taskmesh worker`` and ``taskmesh keeper``: the supervisor, put together."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence

from taskmesh.app.assembly import Foundation, lay_foundation
from taskmesh.app.settings_feed import SettingsFeed
from taskmesh.app.settings_watch import SettingsSource, SettingsWatch
from taskmesh.config.settings import Settings
from taskmesh.errors import StoreUnavailableError, TaskmeshError
from taskmesh.observability.logs import configure
from taskmesh.observability.metrics import Metrics
from taskmesh.worker.executors.memory_cap import refuse_where_unkept
from taskmesh.worker.supervision.plan import WorkerPlan, plan_keeper, plan_worker
from taskmesh.worker.supervision.supervisor import EXIT_FATAL, run_worker

IO_MODULE = "taskmesh.app.io_process"
FLOW_MODULE = "taskmesh.app.flow_process"
KEEPER_MODULE = "taskmesh.app.keeper_process"

_log = logging.getLogger(__name__)


def run(settings: Settings, apps: Sequence[str], source: SettingsSource) -> int:
    """Run a worker until SIGTERM or SIGINT; returns the exit code of ``run_worker``.

    ``source`` has the settings that it follows while it runs.
    """
    return _run("worker", settings, lambda: _plan(settings, apps), source)


def run_keeper(settings: Settings, source: SettingsSource) -> int:
    """Keep house, and run no tasks, until SIGTERM or SIGINT; returns the exit code of ``run_worker``."""
    return _run("keeper", settings, lambda: plan_keeper(settings, KEEPER_MODULE), source)


def _plan(settings: Settings, apps: Sequence[str]) -> WorkerPlan:
    refuse_where_unkept(settings.worker.executor_memory_mb)
    return plan_worker(settings, apps, IO_MODULE, FLOW_MODULE)


def _run(command: str, settings: Settings, make_plan: Callable[[], WorkerPlan], source: SettingsSource) -> int:
    configure(settings.log.level, settings.log.format, sys.stderr)
    try:
        plan = make_plan()
        # Holds the embedded server for as long as the worker runs, whatever its children do.
        foundation = lay_foundation(settings)
    except TaskmeshError as error:
        sys.stderr.write(f"taskmesh {command}: {error}\n")
        return EXIT_FATAL
    feed = SettingsFeed.of(foundation)
    try:
        feed.start()
        watch = SettingsWatch(settings, source, feed.latest)
        return run_worker(plan, Metrics(), lambda holder: _end_leases(foundation, holder), watch.look)
    finally:
        feed.stop()
        foundation.close()


def _end_leases(foundation: Foundation, holder: str) -> None:
    """Tell at once that an I/O process is dead, so that its nodes need not wait for the end of its lease."""
    try:
        foundation.housekeeping.end_holder(holder)
    except StoreUnavailableError as error:
        _log.warning("the leases of %s will lapse later: %s", holder, error)
