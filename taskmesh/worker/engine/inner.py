"""Nodes that end in the I/O process: what their gates do not let run, and those that run no task at all."""

from __future__ import annotations

from collections.abc import Sequence

from taskmesh.dispatch.advance import Ending
from taskmesh.dispatch.gates import Gate, NoCaseError
from taskmesh.model.conditions import ConditionError
from taskmesh.worker.channels.protocol import Failure
from taskmesh.worker.engine.attempt import Attempt

CONDITION_ERROR = "ConditionError"
NO_CASE = "NoCase"


def is_inner(attempt: Attempt) -> bool:
    """Whether it runs no task, so that every worker can end it."""
    step = attempt.node.step
    return attempt.node.switch is not None or (step is not None and not step.runs_task)


def inner_ending(attempt: Attempt, gate: Gate, values: Sequence[bytes | None]) -> Ending | None:
    """How a node ends that does not run; None for one that goes to an executor.

    ``values`` are those of the fields of its gate.
    """
    try:
        passage = gate.decide(values)
    except ConditionError as error:
        return attempt.failed(Failure(CONDITION_ERROR, f"the condition {error}", ""))
    except NoCaseError as error:
        return attempt.failed(Failure(NO_CASE, str(error), ""))
    if passage.skip:
        return attempt.skipped(passage.skip)
    return attempt.decided(passage.case) if passage.case is not None else None
