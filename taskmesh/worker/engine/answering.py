"""Answers the keeper's question whether this process still has what the store says it runs.

An end that was settled and acked can be lost with a primary of Redis that had not sent it to the replica which takes
over. The store then says that its holder, which lives, runs the node; nobody does, and only the holder knows.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from taskmesh.dispatch.dispatcher import Ready
from taskmesh.dispatch.lookup import LookedUp, look_up
from taskmesh.dispatch.plan import Plan
from taskmesh.store.aside import aside
from taskmesh.store.calls import Question, Release, Renewed, Word
from taskmesh.store.housekeeping import Housekeeping
from taskmesh.worker.engine.engine import Engine
from taskmesh.worker.engine.parts import Parts

QUESTIONS_PER_TURN = 500

_log = logging.getLogger(__name__)


class Answering:
    """Hands back what this holder is said to run and does not, and publishes it again. One thread, on its loop."""

    def __init__(self, parts: Parts, housekeeping: Housekeeping, engine: Engine, holder: str) -> None:
        self._parts = parts
        self._housekeeping = housekeeping
        self._engine = engine
        self._holder = holder

    async def run_pass(self) -> None:
        """:raises StoreUnavailableError: what was not answered is asked again."""
        questions = await aside(self._housekeeping.take_questions, self._holder, QUESTIONS_PER_TURN)
        unknown = [each for each in questions if not self._engine.has(each.key)]
        if unknown:
            await self._hand_back(unknown)

    async def _hand_back(self, unknown: Sequence[Question]) -> None:
        releases = [Release(each.key, each.token, each.pool, counts=False) for each in unknown]
        answers = await aside(self._parts.store.release_nodes, releases, self._holder)
        released = {
            each.key: answer for each, answer in zip(unknown, answers, strict=True) if answer.word is Word.RELEASED
        }
        if not released:
            return
        _log.warning("%d nodes that this process had ended are not ended in the store; handed back", len(released))
        found = await aside(look_up, self._parts.reader, self._parts.plans, list(released))
        # What cannot be published from here is found by the keeper.
        self._parts.dispatcher.publish(
            [_ready(each, released[each.key], each.plan) for each in found if each.plan is not None]
        )


def _ready(node: LookedUp, answer: Renewed, plan: Plan) -> Ready:
    run_id, place = node.key
    return Ready(plan, run_id, place, node.shard_key, answer.attempt, answer.token)
