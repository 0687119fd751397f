"""Runs that are admitted for ticks, events and batches, whoever died before that was noted.

Whoever admits a run for one of these may die before; then the next one does it again, and by then a flow may be
archived, or a limit lower. What was begun counts: it is never told as refused.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeVar

from taskmesh.dispatch.advance import Advancer, Entrance
from taskmesh.dispatch.dispatcher import Ready
from taskmesh.store.calls import Word
from taskmesh.store.reader import Reader
from taskmesh.store.store import Store

T = TypeVar("T")

IN_CONFLICT = "a run with this id exists, with another flow or other parameters"


class Admitting:
    """Admits runs again and again, until what each is for is settled. Safe in threads."""

    def __init__(self, store: Store) -> None:
        self._advancer = Advancer(store)
        self._reader = Reader(store.link, store.keys)

    def admit(self, wanted: Sequence[tuple[T, str, Entrance | str]]) -> tuple[list[Ready], list[tuple[T, str]]]:
        """Admit runs, each with what it is for, its id, and the run itself or why there can be none.

        Says which nodes are to be published, and for each why it has no run: empty where it has one.

        :raises StoreUnavailableError: some may have begun; admit all of them again.
        """
        refused = [(of, run_id, why) for of, run_id, why in wanted if isinstance(why, str)]
        there = admitted_among(self._reader, [run_id for _, run_id, _ in refused])
        entrances = [(of, entrance) for of, _, entrance in wanted if isinstance(entrance, Entrance)]
        advances = self._advancer.admit([entrance for _, entrance in entrances]) if entrances else []
        answered = [(of, "" if run_id in there else why) for of, run_id, why in refused]
        for (of, _), advance in zip(entrances, advances, strict=True):
            answered.append((of, IN_CONFLICT if advance.word is Word.CONFLICT else ""))
        return [node for advance in advances for node in advance.ready], answered


def admitted_among(reader: Reader, run_ids: Sequence[str]) -> Collection[str]:
    """Those of the runs that are in the store.

    :raises StoreUnavailableError: nothing is known.
    """
    statuses = reader.statuses(run_ids) if run_ids else []
    return {run_id for run_id, status in zip(run_ids, statuses, strict=True) if status is not None}
