"""Watches the flow files that settings name, and registers what changes in them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from taskmesh.app.assembly import Foundation
from taskmesh.app.occasions import occasions
from taskmesh.client.flow_reload import FlowReload
from taskmesh.client.flow_versions import FlowBox
from taskmesh.errors import FlowError, TaskmeshError
from taskmesh.model.catalog import TaskCatalog
from taskmesh.observability.tally import Tally
from taskmesh.store.flow_versions import flow_versions_of

_log = logging.getLogger(__name__)


class FlowWatch:
    """Does a reload whenever the files at ``paths`` may have changed."""

    def __init__(self, reload: FlowReload, paths: Sequence[str], tally: Tally) -> None:
        self._reload = reload
        self._paths = tuple(paths)
        self._tally = tally

    @classmethod
    def of(cls, foundation: Foundation, tasks: TaskCatalog, tally: Tally) -> FlowWatch:
        """Of the files that the settings name; ``tasks`` are those that their nodes may name."""
        section, box = foundation.settings.flows, FlowBox(flow_versions_of(foundation.store))
        return cls(FlowReload(box, section.paths, section.activate, tasks), section.paths, tally)

    @property
    def activates(self) -> bool:
        """Whether what is new is activated from the next reload on."""
        return self._reload.activates

    @activates.setter
    def activates(self, value: bool) -> None:
        self._reload.activates = value

    async def run(self) -> None:
        """Go on until cancelled; no failure ends it."""
        async for _ in occasions(map(Path, self._paths)):
            try:
                await self.look()
            except Exception:
                # What watches must outlive any single failure.
                _log.exception("flow files could not be looked at")

    async def look(self) -> None:
        """Register what has changed, if anything has."""
        # Beside the loop: large files take long to read, and the store may be slow.
        if await asyncio.to_thread(self._reload.has_changed):
            await self._reloaded()

    async def _reloaded(self) -> None:
        try:
            reloaded = await asyncio.to_thread(self._reload.reload)
        except FlowError as error:
            self._tell(error.problems)
            return
        except TaskmeshError as error:
            self._tally.count("flow_reloads_total", ("unavailable",))
            _log.warning("flow files could not be registered, and will be again: %s", error)
            return
        self._tally.set("flow_problems", 0)
        self._tally.count("flow_reloads_total", ("registered" if any(reloaded) else "unchanged",))
        for words, references in zip(("registered", "activated"), reloaded, strict=True):
            if references:
                _log.info("%s from flow files: %s", words, ", ".join(references))

    def _tell(self, problems: tuple[str, ...]) -> None:
        self._tally.set("flow_problems", len(problems))
        self._tally.count("flow_reloads_total", ("refused",))
        for problem in problems:
            _log.error("nothing of the flow files is registered: %s", problem)
