"""Nodes that begin child runs, and their undos: they run in no executor, and hold nothing while they wait.

What one turn has claimed is taken up together, so their children begin with one call of the store.
"""

from __future__ import annotations

from collections.abc import Sequence

from taskmesh.dispatch.advance import Advance, Ending, cancelled
from taskmesh.dispatch.children import CANCELLED, SUCCEEDED, WAITS, Children, Taken, Verdict
from taskmesh.model.states import RunState
from taskmesh.store.calls import ClaimAnswer, Word
from taskmesh.store.family import run_of_ticket
from taskmesh.worker.channels.protocol import Failure
from taskmesh.worker.engine.attempt import Attempt
from taskmesh.worker.engine.inner import inner_ending
from taskmesh.worker.engine.parts import Parts
from taskmesh.worker.engine.retrying import next_delay_seconds
from taskmesh.worker.engine.settling import Settler

FIRST_LOOK_SECONDS = 60.0
LAST_LOOK_SECONDS = 3600.0
"""A child tells its parent of its end. Should the store lose that, or the child, the node looks by itself: after this
time, then after as long as it has waited by then, at last every hour."""


class ChildRuns:
    """Takes up what was claimed. One thread."""

    def __init__(self, parts: Parts, settler: Settler) -> None:
        self._parts = parts
        self._settler = settler
        self._children = Children(parts.store, parts.plans, parts.max_value_bytes)
        self._claimed: list[tuple[Attempt, Taken]] = []
        settler.on_waiting = self._waiting

    def begin(self) -> None:
        """A turn begins. What one has left that broke off is claimed anew."""
        self._claimed = []

    def add(self, attempt: Attempt, answer: ClaimAnswer, values: Sequence[bytes | None]) -> None:
        """A node was claimed; ``values`` are those of the fields of its inputs."""
        inputs = attempt.plan.inputs(attempt.key.node)
        count = len(inputs.gate.fields) if inputs.gate is not None else 0
        if attempt.runs_always:
            answer = answer._replace(halt="", left_seconds=None)
        if inputs.gate is not None and not answer.halt:
            ending = inner_ending(attempt, inputs.gate, values[:count])
            if ending is not None:
                self._settler.end(attempt, ending)
                return
        self._claimed.append(
            (attempt, Taken(attempt.plan, attempt.key, attempt.shard_key, answer, tuple(values[count:])))
        )

    def flush(self) -> None:
        """Begin, or end, what was added.

        :raises StoreUnavailableError: nothing has ended; all of it is to be claimed again.
        """
        claimed, self._claimed = self._claimed, []
        if not claimed:
            return
        verdicts, ready = self._children.take_up([taken for _, taken in claimed])
        self._parts.dispatcher.publish(ready)
        for (attempt, taken), verdict in zip(claimed, verdicts, strict=True):
            self._settler.end(attempt, _ending(attempt, taken, verdict))

    def _waiting(self, ending: Ending, advance: Advance) -> None:
        """The store has answered that a node waits for a child, or does not any more."""
        run_id = run_of_ticket(ending.ticket)
        if advance.word is Word.STALE:
            self._children.look_after(ending.key, run_id)
        elif advance.run_status == RunState.PAUSED:
            self._children.pause(run_id, ending.key.run_id)


def _ending(attempt: Attempt, taken: Taken, verdict: Verdict) -> Ending:
    if verdict.state == WAITS:
        seconds = min(max(FIRST_LOOK_SECONDS, taken.answer.open_seconds), LAST_LOOK_SECONDS)
        return attempt.awaiting(verdict.ticket, seconds)
    if verdict.state == SUCCEEDED:
        return attempt.gave(verdict.output)
    if verdict.state == CANCELLED:
        return cancelled(attempt.plan, attempt.key, attempt.token, attempt.shard_key, verdict.message)
    failure = Failure(verdict.kind, verdict.message, "")
    delay_seconds = None if verdict.is_final or taken.answer.halt else next_delay_seconds(attempt, failure)
    return attempt.failed(failure) if delay_seconds is None else attempt.postponed(failure, delay_seconds)
