"""From a recorded tick to its run: admitted under the id that the tick gives it, to be published and settled.

A tick stays recorded until its run is admitted, so whoever dies on the way, the next one begins the same run again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from taskmesh.dispatch.admitted import Admitting
from taskmesh.dispatch.advance import Entrance
from taskmesh.dispatch.dispatcher import Ready
from taskmesh.dispatch.entrance import Submission, entrance_of
from taskmesh.dispatch.pins import Pins
from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.plans import Plans
from taskmesh.errors import UsageError, WireError
from taskmesh.model.references import Template
from taskmesh.model.schedules.references import compile_tick_value
from taskmesh.model.schedules.schedule import Schedule
from taskmesh.store.schedules.calls import Recorded, SettledTick
from taskmesh.store.schedules.reader import ScheduleReader
from taskmesh.store.store import Store
from taskmesh.timetable import Timetable
from taskmesh.wire.schedules import decode_definition

SCHEDULE_TAG = "schedule"
"""The tag by which the runs of a schedule are found."""

DEFINITIONS_KEPT = 4096

_log = logging.getLogger(__name__)


class Known(NamedTuple):
    """What a revision of a schedule says."""

    schedule: Schedule
    timetable: Timetable
    template: Template
    plan: Plan


class Definitions:
    """The revisions of schedules that this process has seen last. A revision is the same definition for ever.

    Safe in threads.
    """

    def __init__(self, reader: ScheduleReader, plans: Plans) -> None:
        self._reader = reader
        self._plans = plans
        self._known: dict[tuple[str, str], Known] = {}
        self._lock = threading.Lock()

    def of(self, revisions: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], Known]:
        """Those of them, by schedule and revision, that are kept and can be read."""
        with self._lock:
            found = {key: self._known[key] for key in revisions if key in self._known}
        missing = [key for key in dict.fromkeys(revisions) if key not in found]
        fetched = self._reader.definitions(missing) if missing else []
        read = {key: self._read(key[0], body) for key, body in zip(missing, fetched, strict=True) if body is not None}
        fresh = {key: known for key, known in read.items() if known is not None}
        with self._lock:
            self._known.update(fresh)
            while len(self._known) > DEFINITIONS_KEPT:
                del self._known[next(iter(self._known))]
        return found | fresh

    def _read(self, schedule_id: str, body: bytes) -> Known | None:
        try:
            definition = decode_definition(body)
            schedule = definition.schedule
            template = compile_tick_value(schedule.params)
            return Known(schedule, schedule.when.timetable(), template, self._plans.of_body(definition.flow_body))
        except (WireError, UsageError) as error:
            _log.error("schedule %s cannot be read: %s", schedule_id, error)
            return None


class TickRuns:
    """Begins the runs of recorded ticks."""

    def __init__(self, definitions: Definitions, store: Store, max_value_bytes: int) -> None:
        self._definitions = definitions
        self._admitting = Admitting(store)
        self._pins = Pins(store)
        self._max_value_bytes = max_value_bytes

    def admit(self, recorded: Sequence[Recorded]) -> tuple[list[Ready], list[SettledTick]]:
        """Admit the runs; says which nodes are to be published, and which ticks are to be settled after that.

        :raises StoreUnavailableError: some may have begun; admit all of them again.
        """
        known = self._definitions.of([(each.schedule_id, each.revision) for each in recorded])
        wanted = [(each, each.run_id, self._entrance(each, known)) for each in recorded]
        ready, answered = self._admitting.admit(wanted)
        return ready, [SettledTick(each, why) for each, why in answered]

    def _entrance(self, recorded: Recorded, known: Mapping[tuple[str, str], Known]) -> Entrance | str:
        """The run of a tick, or why there can be none."""
        found = known.get((recorded.schedule_id, recorded.revision))
        if found is None:
            return "the definition of the schedule cannot be read"
        schedule = found.schedule
        try:
            tags = {**schedule.tags, SCHEDULE_TAG: schedule.id}
            params = schedule.params_at(recorded.tick, found.template)
            submission = Submission(params, recorded.run_id, tags, schedule.deadline_seconds)
            return self._pins.pinned(entrance_of(found.plan, submission, self._max_value_bytes))
        except (UsageError, WireError) as error:
            return str(error)
