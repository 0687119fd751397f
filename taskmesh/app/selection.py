"""Many runs at once, chosen by a filter."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING

from taskmesh.app.run import who
from taskmesh.model.states import OPEN_RUN_STATES, RETRIABLE_RUN_STATES, RunState

if TYPE_CHECKING:
    from taskmesh.client.choosing import RunFilter
    from taskmesh.client.client import Client
    from taskmesh.client.verdicts import Verdict


class Selection:
    """The runs that a filter names, looked up anew by each call: ``mesh.select(flow="etl").cancel()``.

    Each call answers with a verdict for every run that it found: ``run_id``; ``done``, false for a run that ended
    meanwhile; and ``error`` where it was refused.
    """

    __slots__ = ("_client", "_filter")

    def __init__(self, client: Client, wanted: RunFilter) -> None:
        self._client = client
        self._filter = wanted

    def ids(self, among: Collection[RunState] = OPEN_RUN_STATES) -> list[str]:
        """The runs that are in one of these states."""
        return self._client.chosen(self._filter, among)

    def pause(self, reason: str = "") -> list[Verdict]:
        """``Run.pause`` of each."""
        return self._client.control.pause(self.ids(OPEN_RUN_STATES), who(reason))

    def resume(self) -> list[Verdict]:
        """``Run.resume`` of each."""
        return self._client.control.resume(self.ids(OPEN_RUN_STATES))

    def cancel(self, reason: str = "") -> list[Verdict]:
        """``Run.cancel`` of each."""
        return self._client.control.cancel(self.ids(OPEN_RUN_STATES), who(reason))

    def terminate(self, reason: str = "") -> list[Verdict]:
        """``Run.terminate`` of each."""
        return self._client.control.terminate(self.ids(OPEN_RUN_STATES), who(reason))

    def retry(self, reason: str = "") -> list[Verdict]:
        """``Run.retry`` of each that has ended as failed, cancelled or terminated."""
        return self._client.control.retry(self.ids(RETRIABLE_RUN_STATES), who(reason))

    async def aids(self, among: Collection[RunState] = OPEN_RUN_STATES) -> list[str]:
        """``ids`` for asyncio."""
        return await asyncio.to_thread(self.ids, among)

    async def apause(self, reason: str = "") -> list[Verdict]:
        """``pause`` for asyncio."""
        return await asyncio.to_thread(self.pause, reason)

    async def aresume(self) -> list[Verdict]:
        """``resume`` for asyncio."""
        return await asyncio.to_thread(self.resume)

    async def aretry(self, reason: str = "") -> list[Verdict]:
        """``retry`` for asyncio."""
        return await asyncio.to_thread(self.retry, reason)

    async def acancel(self, reason: str = "") -> list[Verdict]:
        """``cancel`` for asyncio."""
        return await asyncio.to_thread(self.cancel, reason)

    async def aterminate(self, reason: str = "") -> list[Verdict]:
        """``terminate`` for asyncio."""
        return await asyncio.to_thread(self.terminate, reason)
