"""What becomes of a claimed node that begins no child run: it goes to an executor, or ends here."""

from __future__ import annotations

from typing import TypeAlias

from taskmesh.dispatch.advance import Ending
from taskmesh.dispatch.gates import ValueOf
from taskmesh.model.events.waits import EventWait
from taskmesh.model.waiting import WAITING
from taskmesh.store.calls import ClaimAnswer
from taskmesh.wire import unpack
from taskmesh.worker.engine.attempt import Attempt
from taskmesh.worker.engine.event_waits import EventWaiting, event_waiting
from taskmesh.worker.engine.inner import inner_ending
from taskmesh.worker.engine.waiting import waiting_ending

Decided: TypeAlias = "bytes | Ending | EventWaiting | None"
"""What a task is called with, or how its node ends that does not come so far; None where the task is unknown here."""


def fields_of(attempt: Attempt) -> tuple[str, ...]:
    """What an attempt reads of its run; one whose task is unknown here for its gate, and for how long that was so."""
    node = attempt.key.node
    if node < 0:
        return ()
    inputs = attempt.plan.inputs(node)
    if not attempt.is_unknown:
        return inputs.fields
    return (*(inputs.gate.fields if inputs.gate else ()), f"error:{node}")


def decided(attempt: Attempt, answer: ClaimAnswer, value_of: ValueOf = unpack) -> Decided:
    """What becomes of an attempt, from all that was read for it; ``value_of`` gives the value of something stored.

    :raises PutAsideError: that was put aside, is to be decided over, and is not fetched by ``value_of``.
    """
    inputs, step, values = attempt.plan.inputs(attempt.key.node), attempt.node.step, answer.fields
    gate = inputs.gate
    if attempt.is_unknown:
        # What is not to run is skipped here as anywhere.
        return inner_ending(attempt, gate, values[:-1], value_of) if gate else None
    if gate is None and step is None:
        return inputs.arguments(values)
    count = len(gate.fields) if gate else 0
    if gate and (ending := inner_ending(attempt, gate, values[:count], value_of)):
        return ending
    if isinstance(step, EventWait):
        return event_waiting(attempt, step, answer.open_seconds, inputs, values[count:], value_of)
    if isinstance(step, WAITING):
        return waiting_ending(attempt, step, answer.open_seconds, inputs, values[count:], value_of)
    return inputs.arguments(values[count:])
