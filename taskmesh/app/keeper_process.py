"""``python -m taskmesh.app.keeper_process --fd N``: keeps house and runs nothing; started by ``taskmesh keeper``."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from taskmesh.app.assembly import Foundation
from taskmesh.app.duty import GiveUp, main
from taskmesh.app.keeping import PASS_SECONDS, KeeperRole
from taskmesh.app.steps import end_all, enter_store, refuse_unsafe_store, repeat
from taskmesh.broker.factory import open_publisher
from taskmesh.broker.protocol import LinkState
from taskmesh.config.live import digest
from taskmesh.config.settings import Settings
from taskmesh.dispatch.dispatcher import Dispatcher
from taskmesh.model.checkup.settings_rules import SettingsReport
from taskmesh.observability.tally import Tally
from taskmesh.store.aside import aside
from taskmesh.worker.supervision.link import IoStart

DRAIN_SECONDS = 3.0


class KeeperSession:
    """One life of a process that only keeps house."""

    def __init__(self, foundation: Foundation, holder: str, give_up: GiveUp) -> None:
        self._foundation = foundation
        self._holder = holder
        self.apply(foundation.settings)
        self._missing_store = "not started yet"
        self._steps: list[asyncio.Task[None]] = []
        self._tally = Tally()
        self._publisher = open_publisher(foundation.broker, lambda error: give_up(str(error)))
        self._role = KeeperRole(foundation, holder, self._publisher, Dispatcher(self._publisher), self._tally)

    async def start(self) -> None:
        """:raises StoreRefusedError: the store refuses, or may not be trusted with runs."""
        await enter_store(lambda: refuse_unsafe_store(self._foundation), self._note_missing)
        await self._publisher.start()
        loop, seconds = asyncio.get_running_loop(), self._foundation.settings.worker.renewal_seconds
        self._steps = [
            loop.create_task(repeat(PASS_SECONDS, self._role.keep)),
            loop.create_task(repeat(seconds, self._report_settings)),
        ]

    async def check(self) -> str:
        """What keeps this session from working, or an empty string."""
        if self._missing_store:
            return self._missing_store
        if self._publisher.state is LinkState.DOWN:
            return "not connected to the broker for publishing"
        return ""

    def figures(self) -> dict[str, list[Any]]:
        """What changed since the last call, for the metrics."""
        self._tally.set("unconfirmed", self._publisher.unconfirmed)
        self._tally.set("link_up", float(self._publisher.state is LinkState.UP), ("publish",))
        return self._tally.take()

    def apply(self, settings: Settings, pushed: int = 0, is_refused: bool = False) -> None:
        """Tell what is held now; nothing else that a keeper does depends on settings which can change."""
        self._report = SettingsReport(digest(settings), pushed, is_refused)

    async def drain(self, seconds: float) -> bool:
        """Publish what is on its way; False when the time was over first, which the next keeper makes good."""
        await self._stop_keeping()
        return await self._publisher.drain(min(seconds, DRAIN_SECONDS))

    async def close(self) -> None:
        await self._stop_keeping()
        await self._publisher.close()

    async def _stop_keeping(self) -> None:
        if self._steps:
            await end_all(self._steps)
            self._steps = []
            self._role.leave()

    async def _report_settings(self) -> None:
        lease_seconds = self._foundation.settings.worker.lease_seconds
        await aside(self._foundation.housekeeping.report_settings, self._holder, self._report, lease_seconds)

    def _note_missing(self, sentence: str) -> None:
        self._missing_store = sentence


def _open(start: IoStart, foundation: Foundation, give_up: GiveUp) -> KeeperSession:
    return KeeperSession(foundation, start.holder_id, give_up)


if __name__ == "__main__":
    sys.exit(main("taskmesh.app.keeper_process", _open))
