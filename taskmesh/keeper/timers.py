"""The keeper's timers: read ahead from the store, and rung to the millisecond by an alarm clock.

At the same pace it ends what is left of halted runs, and closes batches of events.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from taskmesh.clock import Clock
from taskmesh.dispatch.lookup import look_up
from taskmesh.dispatch.plans import Plans
from taskmesh.dispatch.waking import AlarmClock, Sleeper
from taskmesh.errors import StoreUnavailableError
from taskmesh.keeper.batches import Batches
from taskmesh.keeper.halts import Halts
from taskmesh.keeper.leadership import Leadership
from taskmesh.model.states import RunState
from taskmesh.store.aside import aside
from taskmesh.store.calls import RUN_DEADLINE, NodeKey, Who, Word
from taskmesh.store.controls import Controls
from taskmesh.store.housekeeping import Housekeeping
from taskmesh.store.reader import Reader

AHEAD_SECONDS = 1.5
"""How far ahead timers are read; more than IDLE_SECONDS, so that none is overdue before it was read."""

BUSY_SECONDS = 0.1
IDLE_SECONDS = 0.5
"""How often, with and without timers in sight. What is due sooner after it was set is woken by the one who set it."""

TIMERS_PER_READ = 200
"""Of one partition. What is left over is read with the next look, when these have gone."""

STUCK_SECONDS = 5.0
AGAIN_SECONDS = 60.0
"""What has rung and is still there after so long cannot be woken now; it makes room for others, and comes again."""

OVERDUE = Who("taskmesh", "the deadline of the run was over")

_log = logging.getLogger(__name__)


class Timers:
    """Wakes the nodes of the partitions that this process leads when they are due. One thread, on its loop."""

    def __init__(
        self,
        housekeeping: Housekeeping,
        reader: Reader,
        plans: Plans,
        leadership: Leadership,
        controls: Controls,
        alarm: AlarmClock,
        halts: Halts,
        batches: Batches,
        clock: Clock,
    ) -> None:
        self._housekeeping = housekeeping
        self._reader = reader
        self._plans = plans
        self._leadership = leadership
        self._controls = controls
        self._alarm = alarm
        self._halts = halts
        self._batches = batches
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._looking: asyncio.Task[None] | None = None
        self._known: dict[NodeKey, float] = {}

    def begin(self) -> None:
        """This process leads something; again and again is fine."""
        if self._looking is None:
            self._looking = self._loop.create_task(self._look_again_and_again())

    def end(self) -> None:
        """It leads nothing, any more."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        self._alarm.clear()
        self._halts.forget()
        self._known.clear()

    async def _look_again_and_again(self) -> None:
        while True:
            in_sight = await self._look()
            await asyncio.sleep(BUSY_SECONDS if in_sight else IDLE_SECONDS)

    async def _look(self) -> bool:
        """Says whether to look again soon."""
        try:
            return await self._read_ahead()
        except StoreUnavailableError as error:
            _log.debug("timers cannot be read: %s", error)
            self._halts.forget()
            return True
        except Exception:
            # A loop that keeps promises must outlive any single failure.
            _log.exception("timers cannot be read")
            return False

    async def _read_ahead(self) -> bool:
        """Set the alarm for what is due soon; says whether anything is."""
        now, offset = await aside(self._read_clocks)
        led = dict(self._leadership.epochs)
        due = dict(await aside(self._housekeeping.timers, now + AHEAD_SECONDS, TIMERS_PER_READ, led))
        known = {key for key, at in due.items() if self._known.get(key) == at}
        for sleeper in await self._sleepers([key for key in due if key not in known and key.node >= 0]):
            self._alarm.set(sleeper, due[sleeper.key] + offset)
        self._known = due
        await self._end_overdue([key for key, at in due.items() if key.node == RUN_DEADLINE and at <= now])
        stuck = [key for key in known if due[key] < now - STUCK_SECONDS]
        if stuck:
            await aside(self._housekeeping.postpone_timers, stuck, now + AGAIN_SECONDS)
        halting = await self._halts.look(now)
        return await self._batches.look(now) or halting or bool(due)

    def _read_clocks(self) -> tuple[float, float]:
        """The store's time, and how far the monotonic clock is ahead of it."""
        now = self._housekeeping.time()
        # Taken after the answer, so the store's clock is never ahead of what is reckoned here, and nothing rings early.
        return now, self._clock.monotonic() - now

    async def _end_overdue(self, timers: Sequence[NodeKey]) -> None:
        """Let runs end whose deadline is over; a run that is being prepared for something is looked at again later."""
        if not timers:
            return
        undone = {each.key for each in await self._sleepers(timers) if each.plan.compensates}
        for compensate in (False, True):
            await self._halt_overdue([timer for timer in timers if (timer in undone) == compensate], compensate)

    async def _halt_overdue(self, timers: Sequence[NodeKey], compensate: bool) -> None:
        run_ids = [timer.run_id for timer in timers]
        answers = await aside(self._controls.halt_runs, run_ids, RunState.FAILED, OVERDUE, compensate)
        for timer, answer in zip(timers, answers, strict=True):
            if answer.word in (Word.HALTED, Word.ENDED, Word.UNKNOWN):
                await aside(self._housekeeping.forget_timer, timer)

    async def _sleepers(self, keys: Sequence[NodeKey]) -> list[Sleeper]:
        """Those that can be woken; of what is gone, the timers go, too."""
        found = await aside(look_up, self._reader, self._plans, keys) if keys else []
        for each in found:
            if each.is_gone:
                await aside(self._housekeeping.forget_timer, each.key)
        return [Sleeper(each.plan, each.key, each.shard_key) for each in found if each.plan is not None]
