"""Schedules as a person deals with them: put, look, pause, trigger, backfill, delete."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from taskmesh.client.identity import this_user
from taskmesh.client.limits import ClientLimits
from taskmesh.client.parts import ClientParts
from taskmesh.client.verdicts import checked
from taskmesh.dispatch.dispatcher import outgoing
from taskmesh.dispatch.entrance import Submission, entrance_of
from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.ticks import Definitions, Known, TickRuns
from taskmesh.errors import ScheduleError, ScheduleNotFoundError, StoreUnavailableError, UsageError
from taskmesh.model.problems import Hints
from taskmesh.model.schedules.schedule import Schedule, run_id_of
from taskmesh.model.schedules.ticks import begin_of, ticks_between
from taskmesh.store.calls import Who, Word
from taskmesh.store.housekeeping import Housekeeping
from taskmesh.store.schedules.calls import Put, ScheduleRecord, Standing
from taskmesh.store.schedules.reader import ScheduleReader
from taskmesh.store.schedules.schedules import MOST_BACKFILL, TICKS_PER_BACKFILL, Schedules
from taskmesh.timetable import Timetable, moment_of, read_moment, zone_of
from taskmesh.wire.schedules import Definition, digest_of, encode_definition

PUT_TRIES = 20
"""How often a change is tried again when a tick was decided about meanwhile."""

MOST_ACTIVE = 1000
MOST_NEXT = 1000
HISTORY_LISTED = 10


@dataclass(frozen=True, slots=True)
class ScheduleDetails:
    """A schedule, its flow, and how it stands (``record``)."""

    schedule: Schedule
    flow: str
    version: str
    record: ScheduleRecord

    @property
    def next_tick(self) -> datetime | None:
        """The next moment at which it is due, in its zone."""
        tick = self.record.standing.next_tick
        return None if tick is None else moment_of(tick, zone_of(self.schedule.when.zone))


class ScheduleBox:
    """The schedules of a mesh. Safe in threads."""

    def __init__(self, parts: ClientParts, housekeeping: Housekeeping, limits: ClientLimits) -> None:
        self._housekeeping = housekeeping
        self._limits = limits
        self._reader = ScheduleReader(parts.store.link, parts.keys)
        self._schedules = Schedules(parts.store)
        self._definitions = Definitions(self._reader, parts.plans)
        self._runs = TickRuns(self._definitions, parts.store, limits.max_value_bytes)
        self._publisher = parts.publisher

    def put(self, schedule: Schedule, plan: Plan) -> bool:
        """Store a schedule, or replace the one with its id; says whether that changed anything.

        What was due before and had not begun is decided about by the new rules.

        :raises ScheduleError: it breaks rules, or is never due. :raises FlowError: the parameters are not the flow's.
        :raises TooLargeError: the flow or the parameters are over a limit.
        """
        schedule.checked()
        self._limits.check(plan)
        self._try_out(schedule, plan)
        body = encode_definition(Definition(schedule, plan.body))
        for _ in range(PUT_TRIES):
            word = self._put(schedule, body)
            if word is not Word.CHANGED:
                return word is Word.PUT
        raise StoreUnavailableError(f"schedule {schedule.id!r} changes all the time; try again")

    def ls(self) -> list[ScheduleDetails]:
        """All of them, in alphabetical order, with the newest HISTORY_LISTED of what became of their ticks.

        One that cannot be read is left out, and logged.
        """
        found = self._reader.records(self._reader.ids(), HISTORY_LISTED)
        records = [each for each in found if each is not None]
        known = self._definitions.of([_revision(each.standing) for each in records])
        pairs = [(each, known.get(_revision(each.standing))) for each in records]
        return [_details(each, found) for each, found in pairs if found is not None]

    def get(self, schedule_id: str) -> ScheduleDetails:
        """:raises ScheduleNotFoundError: there is none."""
        record = self._reader.record(schedule_id)
        if record is None:
            raise self._unknown(schedule_id)
        return _details(record, self._known(record.standing))

    def next(self, schedule_id: str, count: int = 5) -> list[datetime]:
        """The next moments at which it is due, in its zone; at most MOST_NEXT.

        :raises ScheduleNotFoundError: there is none.
        """
        standing = self._standing(schedule_id)
        found = self._known(standing)
        zone = zone_of(found.schedule.when.zone)
        return [
            moment_of(tick, zone) for tick in _ticks_from(found.timetable, standing.next_tick, min(count, MOST_NEXT))
        ]

    def pause(self, schedule_id: str, why: str = "") -> None:
        """Let it begin no run until it is resumed; what is due meanwhile is skipped.

        :raises ScheduleNotFoundError: there is none.
        """
        self._accept(schedule_id, self._schedules.pause_schedule(schedule_id, checked(Who(this_user(), why))))

    def resume(self, schedule_id: str) -> None:
        """:raises ScheduleNotFoundError: there is none."""
        self._accept(schedule_id, self._schedules.resume_schedule(schedule_id))

    def delete(self, schedule_id: str) -> None:
        """Remove it; runs that have begun go on.

        :raises ScheduleNotFoundError: there is none.
        """
        self._accept(schedule_id, self._schedules.remove_schedule(schedule_id))

    def trigger(self, schedule_id: str) -> str:
        """Begin a run now, beside whatever runs, also while it is paused; returns the id of the run.

        :raises ScheduleNotFoundError: there is none. :raises ScheduleError: no run can begin.
        """
        tick = round(self._housekeeping.time() * 1000)
        run_id = f"{run_id_of(schedule_id, tick)}-{secrets.token_hex(3)}"
        answer = self._schedules.trigger_schedule(schedule_id, run_id, tick)
        if answer.word is Word.FULL:
            raise ScheduleError(schedule_id, ["too many of its runs have not ended"])
        self._accept(schedule_id, answer.word)
        ready, settled = self._runs.admit(answer.recorded)
        self._publisher.publish([outgoing(each) for each in ready])
        self._schedules.settle_ticks(settled)
        for each in settled:
            if each.why:
                raise ScheduleError(schedule_id, [each.why])
        return run_id

    def backfill(
        self,
        schedule_id: str,
        first: datetime | str,
        last: datetime | str,
        *,
        reverse: bool = False,
        max_active: int = 1,
        dry_run: bool = False,
    ) -> list[datetime]:
        """Run the ticks of a past range, both ends included, ``max_active`` at a time; returns them in their order.

        A tick that has become a run before is that run, and does not run again. ``reverse`` begins with the newest;
        with ``dry_run`` nothing runs. Texts without an offset are times of the schedule's zone.

        :raises ScheduleNotFoundError: there is none. :raises UsageError: the range is no past range, or has too much.
        """
        found = self._known(self._standing(schedule_id))
        zone = zone_of(found.schedule.when.zone)
        start, end = (_moment(each, zone_name=found.schedule.when.zone) for each in (first, last))
        ticks = self._past_ticks(found.timetable, start, end)
        if not 1 <= max_active <= MOST_ACTIVE:
            raise UsageError(f"at least 1 and at most {MOST_ACTIVE} backfilled runs can be active, not {max_active}")
        ordered = ticks[::-1] if reverse else ticks
        if not dry_run:
            self._backfill(schedule_id, max_active, ordered, -1 if reverse else 1)
        return [moment_of(tick, zone) for tick in ordered]

    def _past_ticks(self, timetable: Timetable, start: int, end: int) -> list[int]:
        now = round(self._housekeeping.time() * 1000)
        if not start <= end <= now:
            raise UsageError("a backfill needs a range that begins before it ends and ends before now")
        ticks = ticks_between(timetable, start, end, MOST_BACKFILL)
        if len(ticks) > MOST_BACKFILL:
            raise UsageError(f"the range has more than {MOST_BACKFILL} ticks; give it in parts")
        return ticks

    def _backfill(self, schedule_id: str, max_active: int, ticks: Sequence[int], sign: int) -> None:
        for start in range(0, len(ticks), TICKS_PER_BACKFILL):
            page = [
                (sign * tick, run_id_of(schedule_id, tick), tick) for tick in ticks[start : start + TICKS_PER_BACKFILL]
            ]
            word = self._schedules.backfill_schedule(schedule_id, max_active, page)
            if word is Word.FULL:
                raise UsageError(
                    f"at most {MOST_BACKFILL} past ticks of a schedule can wait; {start} of these were added, "
                    "add the others when those have run"
                )
            self._accept(schedule_id, word)

    def _put(self, schedule: Schedule, body: bytes) -> Word:
        [standing] = self._reader.standings([schedule.id])
        if standing is not None and self._reader.definitions([_revision(standing)]) == [body]:
            return Word.SAME
        timetable = schedule.when.timetable()
        now = round(self._housekeeping.time() * 1000)
        # A tick that is due and has not begun is not lost by the change.
        undecided = standing.next_tick if standing is not None and standing.next_tick is not None else now + 1
        tick = timetable.after(min(now, undecided - 1))
        if tick is None:
            raise ScheduleError(schedule.id, ["it would never be due: nothing of it lies after now"])
        return self._schedules.put_schedule(
            Put(
                schedule_id=schedule.id,
                seen_revision=standing.revision if standing is not None else "",
                seen_next=standing.next_tick if standing is not None else None,
                digest=digest_of(body),
                body=body,
                overlap=schedule.overlap,
                next_tick=tick,
                begins_at=begin_of(schedule, timetable, tick),
            )
        )

    def _try_out(self, schedule: Schedule, plan: Plan) -> None:
        """Make the run of some tick, so that what its runs would be refused for is told now."""
        tick = round(self._housekeeping.time() * 1000)
        submission = Submission(
            schedule.params_at(tick), run_id_of(schedule.id, tick), schedule.tags, schedule.deadline_seconds
        )
        entrance_of(plan, submission, self._limits.max_value_bytes)

    def _standing(self, schedule_id: str) -> Standing:
        [standing] = self._reader.standings([schedule_id])
        if standing is None:
            raise self._unknown(schedule_id)
        return standing

    def _known(self, standing: Standing) -> Known:
        found = self._definitions.of([_revision(standing)]).get(_revision(standing))
        if found is None:
            raise ScheduleError(standing.schedule_id, ["the store holds what this version cannot read"])
        return found

    def _accept(self, schedule_id: str, word: Word) -> None:
        if word is Word.UNKNOWN:
            raise self._unknown(schedule_id)
        if word is Word.BROKEN:
            raise ScheduleError(schedule_id, ["it is damaged in the store"])

    def _unknown(self, schedule_id: str) -> ScheduleNotFoundError:
        return ScheduleNotFoundError(schedule_id, Hints(self._reader.ids()).did_you_mean(schedule_id))


def _revision(standing: Standing) -> tuple[str, str]:
    return standing.schedule_id, standing.revision


def _details(record: ScheduleRecord, found: Known) -> ScheduleDetails:
    return ScheduleDetails(found.schedule, found.plan.flow.name, found.plan.flow.version, record)


def _ticks_from(timetable: Timetable, tick: int | None, count: int) -> list[int]:
    ticks: list[int] = []
    while tick is not None and len(ticks) < count:
        ticks.append(tick)
        tick = timetable.after(tick)
    return ticks


def _moment(given: datetime | str, zone_name: str) -> int:
    return read_moment(given if isinstance(given, str) else given.isoformat(), zone_of(zone_name))
