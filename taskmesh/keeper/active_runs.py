"""The runs of schedules that have begun: which of them have ended, and which should."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from taskmesh.model.schedules.schedule import schedule_id_of
from taskmesh.model.states import RunState
from taskmesh.store.calls import Who
from taskmesh.store.controls import Controls
from taskmesh.store.keys import Keys
from taskmesh.store.reader import Reader
from taskmesh.store.schedules.calls import Standing
from taskmesh.store.schedules.reader import ScheduleReader

RECORDED_PER_READ = 1000
"""Of one partition; where there are more, a run that is not there yet counts as one that goes on."""

CANCEL, TERMINATE = "cancel", "terminate"
"""What a schedule can wish for one of its runs, as the scripts write it."""


class ActiveRuns:
    """Looks after runs for the overlap policies."""

    def __init__(self, reader: Reader, schedule_reader: ScheduleReader, controls: Controls, keys: Keys) -> None:
        self._reader = reader
        self._schedule_reader = schedule_reader
        self._controls = controls
        self._keys = keys

    def ended(self, standings: Sequence[Standing]) -> Mapping[str, Sequence[str]]:
        """For each schedule, by its id, those of its active runs that have ended or are not there any more."""
        run_ids = [run.run_id for each in standings for run in each.active]
        if not run_ids:
            return {}
        # Before the statuses: what was recorded then and is not now has been admitted, so it has a status.
        coming = self._coming([each.schedule_id for each in standings if each.active])
        statuses = dict(zip(run_ids, self._reader.statuses(run_ids), strict=True))
        found: dict[str, list[str]] = {}
        for run_id, status in statuses.items():
            if status.ended if status is not None else coming is not None and run_id not in coming:
                found.setdefault(schedule_id_of(run_id), []).append(run_id)
        return found

    def stop_unwanted(self, standings: Sequence[Standing]) -> None:
        """Cancel and terminate the runs for which a later tick has asked for that."""
        runs = [run for each in standings for run in each.active]
        self._cancel([run.run_id for run in runs if run.wish == CANCEL])
        self._terminate([run.run_id for run in runs if run.wish == TERMINATE])

    def _cancel(self, run_ids: Sequence[str]) -> None:
        for who, ids in _by_schedule(run_ids):
            self._controls.halt_runs(ids, RunState.CANCELLED, who)

    def _terminate(self, run_ids: Sequence[str]) -> None:
        rows = self._reader.fields_of_runs(run_ids, ["flow"]) if run_ids else []
        flows = {run_id: flow.decode() for run_id, (flow,) in zip(run_ids, rows, strict=True) if flow is not None}
        for who, ids in _by_schedule(flows):
            self._controls.terminate_runs([(run_id, flows[run_id]) for run_id in ids], who)

    def _coming(self, schedule_ids: Sequence[str]) -> set[str] | None:
        """The runs that are recorded and may not be admitted yet; None where there are too many to know."""
        everything = {self._keys.partition_of(each).number: math.inf for each in schedule_ids}
        recorded = self._schedule_reader.recorded(everything, RECORDED_PER_READ)
        return {each.run_id for each, _ in recorded} if len(recorded) < RECORDED_PER_READ else None


def _by_schedule(run_ids: Iterable[str]) -> list[tuple[Who, list[str]]]:
    grouped: dict[str, list[str]] = {}
    for run_id in run_ids:
        grouped.setdefault(schedule_id_of(run_id), []).append(run_id)
    return [(Who(f"schedule {each}", "its next tick was due"), ids) for each, ids in grouped.items()]
