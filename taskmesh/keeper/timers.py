"""The keeper's timers: read ahead from the store, and rung to the millisecond by an alarm clock.

At the same pace it ends what is left of halted runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence

from taskmesh.clock import Clock
from taskmesh.dispatch.plan import Plans
from taskmesh.dispatch.waking import AlarmClock, Sleeper
from taskmesh.errors import StoreUnavailableError, WireError
from taskmesh.keeper.halts import Halts
from taskmesh.keeper.leadership import Leadership
from taskmesh.model.states import RunState
from taskmesh.store.calls import RUN_DEADLINE, NodeKey, Who, Word
from taskmesh.store.controls import Controls
from taskmesh.store.housekeeping import Housekeeping
from taskmesh.store.reader import Reader

AHEAD_SECONDS = 1.5
"""How far ahead timers are read; more than IDLE_SECONDS, so that none is overdue before it was read."""

BUSY_SECONDS = 0.1
IDLE_SECONDS = 0.5
"""How often, with and without timers in sight. What is due sooner after it was set is woken by the one who set it."""

REST_FACTOR = 4
"""Between looks it rests so much longer than a look takes."""

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
        clock: Clock,
    ) -> None:
        self._housekeeping = housekeeping
        self._reader = reader
        self._plans = plans
        self._leadership = leadership
        self._controls = controls
        self._alarm = alarm
        self._halts = halts
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._next: asyncio.TimerHandle | None = None
        self._known: dict[NodeKey, float] = {}

    def begin(self) -> None:
        """This process leads something; again and again is fine."""
        if self._next is None:
            self._next = self._loop.call_later(0.0, self._look)

    def end(self) -> None:
        """It leads nothing, any more."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._alarm.clear()
        self._halts.forget()
        self._known.clear()

    def _look(self) -> None:
        begun = self._clock.monotonic()
        try:
            in_sight = self._read_ahead()
        except StoreUnavailableError as error:
            _log.debug("timers cannot be read: %s", error)
            self._halts.forget()
            in_sight = True
        except Exception:
            # A loop that keeps promises must outlive any single failure.
            _log.exception("timers cannot be read")
            in_sight = False
        # Where the way to the store is long, it must not be all that the loop does.
        rest_seconds = REST_FACTOR * (self._clock.monotonic() - begun)
        self._next = self._loop.call_later(max(BUSY_SECONDS if in_sight else IDLE_SECONDS, rest_seconds), self._look)

    def _read_ahead(self) -> bool:
        """Set the alarm for what is due soon; says whether anything is."""
        now = self._housekeeping.time()
        # Taken after the answer, so the store's clock is never ahead of what is reckoned here, and nothing rings early.
        offset = self._clock.monotonic() - now
        due = dict(self._housekeeping.timers(now + AHEAD_SECONDS, TIMERS_PER_READ, self._leadership.epochs))
        known = {key for key, at in due.items() if self._known.get(key) == at}
        for sleeper in self._sleepers([key for key in due if key not in known and key.node >= 0]):
            self._alarm.set(sleeper, due[sleeper.key] + offset)
        self._known = due
        self._end_overdue([key for key, at in due.items() if key.node == RUN_DEADLINE and at <= now])
        stuck = [key for key in known if due[key] < now - STUCK_SECONDS]
        if stuck:
            self._housekeeping.postpone_timers(stuck, now + AGAIN_SECONDS)
        return self._halts.look(now) or bool(due)

    def _end_overdue(self, timers: Sequence[NodeKey]) -> None:
        """Let runs end whose deadline is over; a run that is being prepared for something is looked at again later."""
        if not timers:
            return
        undone = {each.key for each in self._sleepers(timers) if each.plan.compensates}
        for compensate in (False, True):
            self._halt_overdue([timer for timer in timers if (timer in undone) == compensate], compensate)

    def _halt_overdue(self, timers: Sequence[NodeKey], compensate: bool) -> None:
        run_ids = [timer.run_id for timer in timers]
        answers = self._controls.halt_runs(run_ids, RunState.FAILED, OVERDUE, compensate)
        for timer, answer in zip(timers, answers, strict=True):
            if answer.word in (Word.HALTED, Word.ENDED, Word.UNKNOWN):
                self._housekeeping.forget_timer(timer)

    def _sleepers(self, keys: Sequence[NodeKey]) -> Iterator[Sleeper]:
        if not keys:
            return
        fields = self._reader.fields_of_runs([key.run_id for key in keys], ("flow", "shard_key"))
        for key, (flow_hash, shard_key) in zip(keys, fields, strict=True):
            if flow_hash is None or shard_key is None:
                self._housekeeping.forget_timer(key)
                continue
            try:
                plan = self._plans.get(flow_hash.decode(), key.run_id)
            except WireError as error:
                _log.error("the flow of run %s cannot be read: %s", key.run_id, error, extra={"run": key.run_id})
                continue
            if plan is not None:
                yield Sleeper(plan, key, shard_key.decode())
