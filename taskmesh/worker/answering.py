"""Answers the keeper's question whether this process still has what the store says it runs.

An end that was settled and acked can be lost with a primary of Redis that had not sent it to the replica which takes
over. The store then says that its holder, which lives, runs the node; nobody does, and only the holder knows.
"""

from __future__ import annotations

import logging

from taskmesh.store.calls import Release
from taskmesh.store.housekeeping import Housekeeping
from taskmesh.store.store import Store
from taskmesh.worker.engine import Engine

QUESTIONS_PER_TURN = 500

_log = logging.getLogger(__name__)


class Answering:
    """Hands back what this holder is said to run and does not; the keeper then publishes it again."""

    def __init__(self, store: Store, housekeeping: Housekeeping, engine: Engine, holder: str) -> None:
        self._store = store
        self._housekeeping = housekeeping
        self._engine = engine
        self._holder = holder

    def run_pass(self) -> None:
        """:raises StoreUnavailableError: what was not answered is asked again."""
        questions = self._housekeeping.take_questions(self._holder, QUESTIONS_PER_TURN)
        unknown = [each for each in questions if not self._engine.has(each.key)]
        if unknown:
            _log.warning("%d nodes that this process had ended are not ended in the store; handed back", len(unknown))
            releases = [Release(each.key, each.token, each.pool, counts=False) for each in unknown]
            self._store.release_nodes(releases, self._holder)
