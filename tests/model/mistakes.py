"""Mistakes put into the product on purpose, which random flows must find: some of the simulation's, and others."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from taskmesh.dispatch.advance import Ending
from taskmesh.model.steps import Step
from taskmesh.model.waiting_words import timeout_error
from taskmesh.worker.channels.protocol import Failure
from taskmesh.worker.engine.attempt import Attempt
from tests.simulation.mutants import MUTANTS

Mistake = Callable[[], AbstractContextManager[object]]


def _instead(target: str, new: Any) -> Mistake:
    return lambda: mock.patch(target, new)


def _fail(attempt: Attempt, step: Step, seconds: float) -> Ending:
    return attempt.failed(Failure(timeout_error(step), "", ""))


_SHARED = (
    "a rule does not wait for all ends",
    "an expression counts what has not ended",
    "a failure that is taken fails its run",
    "a false condition lets its node run",
    "a switch leads to every branch",
    "a node that its gates shut out has had an attempt",
    "a hook runs after every end",
    "the hooks of a flow do not wait for its last node",
)

MISTAKES: dict[str, Mistake] = {
    **{name: MUTANTS[name] for name in _SHARED},
    "a loop ends with its first iteration": _instead("taskmesh.model.loops.Loop.is_done", lambda *_: True),
    "a loop never ends by its condition": _instead("taskmesh.model.loops.Loop.is_done", lambda *_: False),
    "a map takes any number of failures": _instead("taskmesh.model.mapping.Map.needed", lambda *_: 0),
    "nothing is tried again": _instead("taskmesh.worker.engine.fates.next_delay_seconds", lambda *_: None),
    "a wait has no default": _instead("taskmesh.worker.engine.waiting._timed_out", _fail),
}
