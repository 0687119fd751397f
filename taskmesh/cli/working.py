"""Commands that run for long: the worker, the benchmark."""

from __future__ import annotations

import subprocess
from typing import Annotated

import typer

from taskmesh.cli.options import Apps
from taskmesh.errors import UsageError

BENCH_CONTEXT = {"allow_extra_args": True, "ignore_unknown_options": True}

Pools = Annotated[
    list[str],
    typer.Option(
        "--pool",
        metavar="NAME",
        default_factory=list,
        show_default="worker.pools of the settings",
        help="Work for this pool. May be repeated.",
    ),
]
Flows = Annotated[
    list[str],
    typer.Option(
        "--flows",
        metavar="PATH",
        default_factory=list,
        show_default="flows.paths of the settings",
        help="Register this flow file, or those of this directory, and again when they change. May be repeated.",
    ),
]
Processes = Annotated[int | None, typer.Option("--processes", help="Executor processes, which run the tasks.")]
IoProcesses = Annotated[int | None, typer.Option("--io-processes", help="Processes that talk to RabbitMQ and Redis.")]
Threads = Annotated[int | None, typer.Option("--threads", help="Tasks that each executor process runs at once.")]
HealthPort = Annotated[int | None, typer.Option("--health-port", help="Port of /livez, /readyz and /metrics; 0 = any.")]


def worker(
    app: Apps,
    pool: Pools,
    flows: Flows,
    processes: Processes = None,
    io_processes: IoProcesses = None,
    threads: Threads = None,
    health_port: HealthPort = None,
) -> None:
    """Run the tasks of one or more apps until SIGTERM or Ctrl-C, which let running tasks end first.

    Options stand above the settings; `taskmesh config show` tells what those are.
    """
    from taskmesh.app.settings_watch import SettingsSource
    from taskmesh.app.worker import run
    from taskmesh.config import load_settings, standing_above

    given = {
        "modules": app or None,
        "pools": pool or None,
        "processes": processes,
        "io_processes": io_processes,
        "threads": threads,
        "health_port": health_port,
    }
    options = {"worker": given, "flows": {"paths": flows or None}}
    settings = load_settings(options)
    if not settings.worker.modules:
        raise UsageError("no app is named; add -A MODULE, or set worker.modules in the settings")
    source = SettingsSource(lambda: load_settings(options), standing_above(options))
    raise typer.Exit(run(settings, settings.worker.modules, source))


def keeper(health_port: HealthPort = None) -> None:
    """Keep house without running tasks, until SIGTERM or Ctrl-C: timers, lost work, retention.

    Every worker does this, too, unless `worker.keeper` is false. Keepers share the work, and one takes over when
    another dies.
    """
    from taskmesh.app.settings_watch import SettingsSource
    from taskmesh.app.worker import run_keeper
    from taskmesh.config import load_settings, standing_above

    options = {"worker": {"health_port": health_port}}
    source = SettingsSource(lambda: load_settings(options), standing_above(options))
    raise typer.Exit(run_keeper(load_settings(options), source))


def bench(context: typer.Context) -> None:
    """Run the benchmark of a source checkout; everything after `bench` is passed on to scripts/bench."""
    from taskmesh.cli.checkout import require_checkout

    script = require_checkout("the benchmark", "scripts/bench") / "scripts" / "bench"
    raise typer.Exit(subprocess.call([str(script), *context.args]))
