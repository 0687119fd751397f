"""``python -m taskmesh.app.flow_process --fd N``: registers the flow files of a worker; started by its supervisor.

A process of its own, since it imports the apps: what their tasks say of pools and retries is part of a version.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any

from taskmesh.app.assembly import Foundation
from taskmesh.app.duty import GiveUp, main
from taskmesh.app.flow_watch import FlowWatch
from taskmesh.config.settings import Settings
from taskmesh.observability.tally import Tally
from taskmesh.plugins.catalog import NodeTypes
from taskmesh.worker.executors.loading import load_registry
from taskmesh.worker.supervision.link import IoStart


class FlowSession:
    """One life of a process that registers flow files."""

    def __init__(self, foundation: Foundation, apps: tuple[str, ...]) -> None:
        self._foundation = foundation
        self._apps = apps
        self._tally = Tally()
        self._activates = foundation.settings.flows.activate
        self._watch: FlowWatch | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """:raises UsageError: an app cannot be imported."""
        tasks = await asyncio.to_thread(load_registry, self._apps)
        tasks.node_types = NodeTypes(lambda: self._foundation.settings)
        self._watch = FlowWatch.of(self._foundation, tasks, self._tally)
        self._watch.activates = self._activates
        self._watching = asyncio.create_task(self._watch.run())

    async def check(self) -> str:
        """Nothing keeps a worker from working here: what is registered already stays."""
        return ""

    def figures(self) -> dict[str, list[Any]]:
        """What changed since the last call, for the metrics."""
        return self._tally.take()

    def apply(self, settings: Settings, pushed: int, is_refused: bool) -> None:
        """From now on, activate what is new in the files, or do not."""
        self._activates = settings.flows.activate
        if self._watch is not None:
            self._watch.activates = self._activates

    async def drain(self, seconds: float) -> bool:
        """Stop watching; what was half registered is registered by the next worker."""
        await self.close()
        return True

    async def close(self) -> None:
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching


def _open(start: IoStart, foundation: Foundation, give_up: GiveUp) -> FlowSession:
    return FlowSession(foundation, start.apps)


if __name__ == "__main__":
    sys.exit(main("taskmesh.app.flow_process", _open))
