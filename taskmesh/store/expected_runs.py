"""Runs that are about to be admitted: what was put aside for them must not be taken for that of a run that is gone.

A key for each, which expires by itself: whoever would have admitted the run may die before. Whoever wants to know asks
for the keys first, and then which of the runs are there: between being expected and being there is no moment.
"""

from __future__ import annotations

from collections.abc import Sequence

from taskmesh.store.keys import Keys
from taskmesh.store.link import Command, Link, value_of
from taskmesh.store.store import Store

EXPECTED_MS = 3_600_000
"""How long a run may take from here to its admission, or to the next time that it is said."""


class ExpectedRuns:
    """Says, and knows, which runs are about to be admitted. Safe in threads."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    @classmethod
    def of(cls, store: Store) -> ExpectedRuns:
        return cls(store.link, store.keys)

    def expect(self, run_id: str) -> None:
        """A run is about to be admitted."""
        key = self._keys.expected(run_id)
        self._ask([Command(key, "SET", key, 1, "PX", EXPECTED_MS)])

    def still(self, run_ids: Sequence[str]) -> list[bool]:
        """Which of some runs that were expected are so still; those are, for as long again."""
        keys = [self._keys.expected(run_id) for run_id in run_ids]
        return [bool(reply) for reply in self._ask([Command(key, "PEXPIRE", key, EXPECTED_MS) for key in keys])]

    def forget(self, run_ids: Sequence[str]) -> None:
        """Some runs are admitted, or will not be."""
        self._ask([Command(key, "DEL", key) for key in map(self._keys.expected, run_ids)])

    def among(self, run_ids: Sequence[str]) -> set[str]:
        """Those of some runs that are about to be admitted."""
        keys = [self._keys.expected(run_id) for run_id in run_ids]
        found = zip(run_ids, self._ask([Command(key, "EXISTS", key) for key in keys]), strict=True)
        return {run_id for run_id, is_there in found if is_there}

    def _ask(self, commands: Sequence[Command]) -> list[object]:
        return [value_of(reply) for reply in self._link.exchange(commands)] if commands else []
