"""Mistakes put into the product on purpose, which random flows must find: some of the simulation's, and others."""

from __future__ import annotations

from taskmesh.dispatch.advance import Ending
from taskmesh.model.steps import Step
from taskmesh.worker.channels.protocol import Failure
from taskmesh.worker.engine.attempt import Attempt
from taskmesh.worker.engine.waiting import SIGNAL_TIMEOUT
from tests.simulation.mutants import MUTANTS, Mutation, in_script, instead


def _fail(attempt: Attempt, step: Step, seconds: float) -> Ending:
    return attempt.failed(Failure(SIGNAL_TIMEOUT, "", ""))


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

MISTAKES: dict[str, Mutation] = {
    **{name: MUTANTS[name] for name in _SHARED},
    "a condition is asked again at each claim": in_script("claim_node", " and not values[FIELDS + BEFORE_FIELDS]", ""),
    "a loop ends with its first iteration": instead("taskmesh.model.loops.Loop.is_done", lambda *_: True),
    "a loop never ends by its condition": instead("taskmesh.model.loops.Loop.is_done", lambda *_: False),
    "a map takes any number of failures": instead("taskmesh.model.mapping.Map.needed", lambda *_: 0),
    "nothing is tried again": instead("taskmesh.worker.engine.fates.next_delay_seconds", lambda *_: None),
    "a wait has no default": instead("taskmesh.worker.engine.waiting._timed_out", _fail),
}
