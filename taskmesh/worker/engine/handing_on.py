"""A node whose task this worker does not know goes on to others for a while.

While a new version is rolled out, some workers of a pool know a task already and some do not. Such a node waits, with a
growing delay and no attempt used up, and then comes to whichever worker gets it over another shard, where this one lets
others go first (see ``standing_back``). How long this has
been going on stands in the error that it leaves: the token, which tells whether anybody ran it in between, and when it
began, by the store's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from taskmesh.dispatch.advance import Ending
from taskmesh.errors import WireError
from taskmesh.model.node_types import type_of_task
from taskmesh.model.problems import Hints
from taskmesh.store.calls import ClaimAnswer
from taskmesh.wire import pack, unpack
from taskmesh.worker.channels.protocol import Failure
from taskmesh.worker.engine.attempt import Attempt

UNKNOWN_TASK = "UnknownTask"

SHORTEST_SECONDS = 0.2
LONGEST_SECONDS = 5.0
GROWTH = 0.25
"""Each wait is this part of the time that has passed."""

TOKENS_OF_A_ROUND = 3
"""Waking and claiming raise the token once each; a message that got lost meanwhile raises it once more."""


class _Begun(NamedTuple):
    """When a node was handed on first, in seconds after it was ready first, and its token when it was last."""

    token: int
    at_seconds: float


class HandingOn:
    """Decides what becomes of a node with an unknown task; ``patience_seconds`` 0 means that it fails at once.

    ``on_handed_on`` is called for each node that others are to take.
    """

    def __init__(self, patience_seconds: float, on_handed_on: Callable[[], None]) -> None:
        self._patience_seconds = patience_seconds
        self._on_handed_on = on_handed_on

    def ending(self, attempt: Attempt, answer: ClaimAnswer, known: Collection[str]) -> Ending:
        """The end of this attempt, which is none: it waits for another worker, or has waited long enough and fails."""
        failure = _failure(attempt.task, known)
        begun_at = _begun_at(attempt.token, answer)
        passed_seconds = answer.open_seconds - begun_at
        left_seconds = self._patience_seconds - passed_seconds
        if left_seconds <= 0:
            return attempt.failed(failure)
        self._on_handed_on()
        delay_seconds = min(max(SHORTEST_SECONDS, GROWTH * passed_seconds), LONGEST_SECONDS, left_seconds)
        error = {**failure_fields(failure), "handed_on": _Begun(attempt.token, begun_at)}
        return Ending(
            attempt.plan,
            attempt.key,
            attempt.token,
            attempt.shard_key,
            "retrying",
            error=pack(error),
            delay_seconds=delay_seconds,
            counts=False,
        )


def failure_fields(failure: Failure) -> dict[str, Any]:
    return {"type": failure.type, "message": failure.message, "traceback": failure.traceback}


def _begun_at(token: int, answer: ClaimAnswer) -> float:
    [packed] = answer.fields
    begun = _read(packed) if packed else None
    if begun is None or token > begun.token + TOKENS_OF_A_ROUND:
        return answer.open_seconds
    return begun.at_seconds


def _read(packed: bytes) -> _Begun | None:
    try:
        error = unpack(packed)
    except WireError:
        return None
    return _Begun(*error["handed_on"]) if isinstance(error, dict) and "handed_on" in error else None


def _failure(task: str, known: Collection[str]) -> Failure:
    kind = type_of_task(task)
    if kind:
        message = (
            f"no worker of this pool has the node type {kind!r} on; install it where they run, or allow it in their "
            "settings: `taskmesh plugins ls` there says what is missing"
        )
        return Failure(UNKNOWN_TASK, message, "")
    hint = Hints(known).did_you_mean(task)
    message = (
        f"task {task!r} is not registered in this worker{hint or ';'} start a worker with -A and the module that has "
        "it, or correct the name in the flow"
    )
    return Failure(UNKNOWN_TASK, message, "")
