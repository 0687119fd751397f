"""Runs that could not begin now, and are there: they were admitted before, under the same id.

Whoever admits a run for a tick, an event or a batch may die before that is noted; then the next one does it again, and
by then a flow may be archived, or a limit lower. What was begun counts: it is never told as refused.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from taskmesh.store.reader import Reader


def admitted_among(reader: Reader, run_ids: Sequence[str]) -> Collection[str]:
    """Those of the runs that are in the store.

    :raises StoreUnavailableError: nothing is known.
    """
    statuses = reader.statuses(run_ids) if run_ids else []
    return {run_id for run_id, status in zip(run_ids, statuses, strict=True) if status is not None}
