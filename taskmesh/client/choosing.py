"""Finds the runs that a filter names, however many there are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from taskmesh.model.states import RunState
from taskmesh.store.reader import Reader
from taskmesh.store.records import RunSummary


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs are meant: all that every field fits. Times are of the submission, in epoch seconds."""

    status: RunState | None = None
    flow: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    submitted_from: float | None = None
    submitted_before: float | None = None

    def fits(self, run: RunSummary) -> bool:
        return (
            self.status in (None, run.status)
            and self.flow in (None, run.flow)
            and self.tags.items() <= run.tags.items()
            and (self.submitted_from is None or run.submitted_at >= self.submitted_from)
            and (self.submitted_before is None or run.submitted_at < self.submitted_before)
        )


def chosen_runs(reader: Reader, wanted: RunFilter, among: Collection[RunState]) -> Iterator[str]:
    """The ids of the runs that fit, and are in one of these states."""
    if wanted.status is not None and wanted.status not in among:
        return
    seen: set[str] = set()
    for closed in {state.ended for state in among}:
        for page in reader.scan_runs(closed):
            for run in reader.summaries([run_id for run_id in page if run_id not in seen]):
                if run.run_id not in seen and run.status in among and wanted.fits(run):
                    seen.add(run.run_id)
                    yield run.run_id
