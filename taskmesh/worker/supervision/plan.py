"""What a supervisor is to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from taskmesh.config.settings import Settings
from taskmesh.errors import ConfigError
from taskmesh.worker.supervision.link import IoStart, SettingsNote


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """What to supervise. ``executors`` are counted over all I/O processes; ``settings`` are handed on as they are.

    ``io_module`` is what an I/O process runs; ``flow_module``, unless empty, is what one more process runs, to register
    flow files. ``command`` is the one that people know.
    """

    apps: tuple[str, ...]
    io_processes: int
    executors: int
    drain_seconds: float
    health_host: str
    health_port: int
    settings: Mapping[str, Any]
    io_module: str
    command: str = "worker"
    flow_module: str = ""

    def with_settings(self, note: SettingsNote) -> WorkerPlan:
        """The plan after a change of settings that needs no restart."""
        return replace(self, settings=note.settings, drain_seconds=note.settings["worker"]["drain_seconds"])

    def starts(self) -> list[IoStart]:
        """One for each process; the executors are dealt out evenly to the I/O processes, at least one to each."""
        share, extra = divmod(self.executors, self.io_processes)
        starts = [
            self._start(index, max(1, share + (index < extra)), self.io_module, f"I/O process {index}")
            for index in range(self.io_processes)
        ]
        if self.flow_module:
            starts.append(self._start(self.io_processes, 0, self.flow_module, "the process that registers flow files"))
        return starts

    def _start(self, index: int, executors: int, module: str, name: str) -> IoStart:
        return IoStart("", index, executors, self.apps, self.settings, module, name)


def plan_worker(settings: Settings, modules: Sequence[str], io_module: str, flow_module: str) -> WorkerPlan:
    """The plan that the settings make, for these modules or those of the settings.

    ``flow_module`` runs only where the settings name flow files.

    :raises ConfigError: when nothing says which tasks to run.
    """
    apps = tuple(dict.fromkeys(modules or settings.worker.modules))
    if not apps:
        raise ConfigError("no app is named: give -A MODULE, or set worker.modules")
    return WorkerPlan(
        apps=apps,
        io_processes=settings.worker.io_processes,
        executors=settings.worker.executors,
        drain_seconds=settings.worker.drain_seconds,
        health_host=settings.worker.health_host,
        health_port=settings.worker.health_port,
        settings=settings.to_mapping(),
        io_module=io_module,
        flow_module=flow_module if settings.flows.paths else "",
    )


def plan_keeper(settings: Settings, io_module: str) -> WorkerPlan:
    """The plan of one process that runs no tasks."""
    return WorkerPlan(
        apps=(),
        io_processes=1,
        executors=1,
        drain_seconds=settings.worker.drain_seconds,
        health_host=settings.worker.health_host,
        health_port=settings.worker.health_port,
        settings=settings.to_mapping(),
        io_module=io_module,
        command="keeper",
    )
