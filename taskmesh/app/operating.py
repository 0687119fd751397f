"""What people do with what the servers hold: runs, dead letters, breakers, flows, live settings, schedules."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Unpack

from taskmesh.app.selection import Selection
from taskmesh.app.submittable import FlowFinder, Submittable, arguments_of

if TYPE_CHECKING:
    from taskmesh.app.producer import Producer
    from taskmesh.client.breakers import BreakerBox
    from taskmesh.client.controlling import RunControl
    from taskmesh.client.dead_letters import DeadLetterBox
    from taskmesh.client.flow_versions import FlowBox
    from taskmesh.client.publishing import WaitingBatch
    from taskmesh.client.pushed_settings import SettingsBox
    from taskmesh.client.schedules import ScheduleBox, ScheduleDetails
    from taskmesh.model.schedules.options import ScheduleOptions
    from taskmesh.model.schedules.schedule import Schedule
    from taskmesh.model.states import RunState


class Operating:
    """The operating half of a mesh; the other half declares and submits."""

    _finder: FlowFinder

    @property
    def _working(self) -> Producer:
        """The connections, made when they are first needed."""
        raise NotImplementedError

    @property
    def control(self) -> RunControl:
        """What can be done to many runs by their ids."""
        return self._working.client.control

    def select(
        self,
        *,
        status: RunState | None = None,
        flow: str | None = None,
        tags: Mapping[str, str] | None = None,
        older_than_seconds: float | None = None,
        since_seconds: float | None = None,
    ) -> Selection:
        """Many runs at once, as ``mesh.select(flow="etl", tags={"tenant": "acme"}).cancel()``; with no filter, all.

        ``older_than_seconds`` chooses runs that were submitted longer ago, ``since_seconds`` those submitted since.
        """
        from taskmesh.client.choosing import RunFilter

        now = self._working.foundation.clock.now()
        first = None if since_seconds is None else now - since_seconds
        before = None if older_than_seconds is None else now - older_than_seconds
        return Selection(self._working.client, RunFilter(status, flow, dict(tags or {}), first, before))

    @property
    def dead_letters(self) -> DeadLetterBox:
        """Messages that no worker could use: to look at, to replay, to purge."""
        return self._working.dead_letters

    @property
    def breakers(self) -> BreakerBox:
        """The circuit breakers that workers have met: to look at, to open, to close."""
        return self._working.breakers

    @property
    def flows(self) -> FlowBox:
        """The registered flows and their versions: to push, compare, activate, roll back."""
        return self._working.flows

    @property
    def config(self) -> SettingsBox:
        """The live settings of all workers: to push, look at, roll back."""
        return self._working.config

    def schedule(self, what: Submittable, /, *, id: str, **options: Unpack[ScheduleOptions]) -> ScheduleDetails:
        """Have a flow or a task run by itself, as ``mesh.schedule(order, id="nightly", cron="0 0 3 * * *")``.

        It replaces the schedule with this ``id``; the same again changes nothing. The flow is stored with it, so a run
        begins without the app's code. ``params`` may refer to ``${schedule.time}`` and ``${schedule.id}``.

        :raises ScheduleError: it breaks rules, or is never due. :raises FlowError: the flow or the parameters do.
        :raises StoreUnavailableError: Redis does not answer; call again.
        """
        from taskmesh.model.schedules.options import schedule_of

        [params] = arguments_of(what, [options.get("params") or {}])
        self.put_schedule(schedule_of(id, {**options, "params": params}), what)
        return self.schedules.get(id)

    def put_schedule(self, schedule: Schedule, what: Submittable, /) -> bool:
        """``schedule`` for one that is made already; says whether that changed anything."""
        return self._working.put_schedule(self._finder.flow_of(what), schedule)

    async def aschedule(self, what: Submittable, /, *, id: str, **options: Unpack[ScheduleOptions]) -> ScheduleDetails:
        """``schedule`` for asyncio."""
        return await asyncio.to_thread(lambda: self.schedule(what, id=id, **options))

    @property
    def schedules(self) -> ScheduleBox:
        """All schedules: to look at, to pause, to trigger, to backfill, to delete."""
        return self._working.schedules

    def event_batches(self, limit: int = 50) -> list[WaitingBatch]:
        """Batches of events whose runs have not begun: those that are closed, then those that close next.

        :raises StoreUnavailableError: Redis does not answer.
        """
        return self._working.events.batches(limit)
