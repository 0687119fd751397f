"""How child runs are ended because of their parents. Again is always fine."""

from __future__ import annotations

from collections.abc import Sequence

from taskmesh.model.states import RunState
from taskmesh.store.calls import Who, Word
from taskmesh.store.controls import Controls
from taskmesh.store.family import run_key
from taskmesh.store.family_reader import FamilyReader
from taskmesh.store.store import Store

TERMINATED = "its parent was terminated"
"""Why a child was."""


class Closing:
    """Ends child runs."""

    def __init__(self, store: Store) -> None:
        self._reader = FamilyReader.of(store)
        self._controls = Controls(store)

    def stop(self, run_ids: Sequence[str], parent: str, why: str, compensates: bool) -> None:
        """Cancel children, and have undone what they did where their parent is undone."""
        who = Who(f"run {parent}", why)
        rest = list(run_ids)
        if compensates:
            answers = self._controls.halt_runs(rest, RunState.CANCELLED, who, compensate=True)
            rest = [each for each, answer in zip(rest, answers, strict=True) if answer.word is Word.NOTHING]
        self._controls.halt_runs(rest, RunState.CANCELLED, who)

    def terminate(self, run_ids: Sequence[str], parent: str) -> None:
        """End children at once, with their parent."""
        rows = zip(run_ids, self._reader.fields_of_runs(run_ids, ("flow", "parent")), strict=True)
        found = [run_key(run_id, flow, above) for run_id, (flow, above) in rows if flow is not None]
        self._controls.terminate_runs(found, Who(f"run {parent}", TERMINATED))
