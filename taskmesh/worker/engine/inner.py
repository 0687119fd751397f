"""Nodes that end in the I/O process: what their gates do not let run, and those that run no task at all."""

from __future__ import annotations

from collections.abc import Sequence

from taskmesh.dispatch.advance import Ending
from taskmesh.dispatch.gates import Gate, NoCaseError, ValueOf
from taskmesh.model.condition_text import ConditionError
from taskmesh.payload.large_values import CONDITION_BYTES, Fetching
from taskmesh.wire import unpack
from taskmesh.worker.channels.protocol import Failure
from taskmesh.worker.engine.attempt import Attempt
from taskmesh.worker.engine.parts import Parts

CONDITION_ERROR = "ConditionError"
NO_CASE = "NoCase"


def condition_values(parts: Parts, attempt: Attempt) -> ValueOf:
    """Gives the values of what is stored of the run of a node that is decided beside the loop."""
    return Fetching(parts.large, attempt.key.run_id, CONDITION_BYTES).value


def is_inner(attempt: Attempt) -> bool:
    """Whether it runs no task, so that every worker can end it."""
    step = attempt.node.step
    return attempt.node.switch is not None or (step is not None and not step.runs_task)


def inner_ending(
    attempt: Attempt, gate: Gate, values: Sequence[bytes | None], value_of: ValueOf = unpack
) -> Ending | None:
    """How a node ends that does not run; None for one that goes to an executor.

    ``values`` are those of the fields of its gate; ``value_of`` gives the value of something stored.

    :raises PutAsideError: as of ``Gate.decide``.
    """
    try:
        passage = gate.decide(values, value_of)
    except ConditionError as error:
        return attempt.failed(Failure(CONDITION_ERROR, f"the condition {error}", ""))
    except NoCaseError as error:
        return attempt.failed(Failure(NO_CASE, str(error), ""))
    if passage.skip:
        return attempt.skipped(passage.skip)
    return attempt.decided(passage.case) if passage.case is not None else None
