"""Nodes that begin child runs, and their undos: they run in no executor, and hold nothing while they wait.

What one turn has claimed is taken up together, so their children begin with one call of the store. What needs values
that were put aside is taken up beside the loop, each by itself.
"""

from __future__ import annotations

from functools import partial

from taskmesh.dispatch.advance import Advance, Ending, cancelled
from taskmesh.dispatch.children.children import (
    BESIDE,
    CANCELLED,
    SUCCEEDED,
    WAITS,
    Children,
    Taken,
    Verdict,
    ends_with_parent,
)
from taskmesh.dispatch.children.orphans import Orphans
from taskmesh.dispatch.children.parents import Parents
from taskmesh.dispatch.dispatcher import Ready
from taskmesh.model.states import RunState
from taskmesh.store.calls import ClaimAnswer, Word
from taskmesh.store.family import run_of_ticket
from taskmesh.wire.codec import PutAsideError
from taskmesh.worker.channels.protocol import Failure
from taskmesh.worker.engine.attempt import Attempt
from taskmesh.worker.engine.beside import Beside
from taskmesh.worker.engine.inner import condition_values, inner_ending
from taskmesh.worker.engine.parts import Parts
from taskmesh.worker.engine.retrying import next_delay_seconds
from taskmesh.worker.engine.settling import Settler

FIRST_LOOK_SECONDS = 60.0
LAST_LOOK_SECONDS = 3600.0
"""A child tells its parent of its end. Should the store lose that, or the child, the node looks by itself: after this
time, then after as long as it has waited by then, at last every hour."""


class ChildRuns:
    """Takes up what was claimed. One thread; ``parents`` are told by it."""

    def __init__(self, parts: Parts, settler: Settler, parents: Parents, beside: Beside) -> None:
        self._parts = parts
        self._settler = settler
        self._beside = beside
        common = parts.store, parts.plans, parts.max_value_bytes
        self._children = Children(*common, parents)
        self._children_beside = Children(*common, Parents(parts.store, parts.large, put_off=None), parts.large)
        self._orphans = Orphans(parts.store, parts.plans)
        self._claimed: list[tuple[Attempt, Taken]] = []
        settler.on_waiting = self._waiting

    def begin(self) -> None:
        """A turn begins. What one has left that broke off is claimed anew."""
        self._claimed = []

    def add(self, attempt: Attempt, answer: ClaimAnswer) -> None:
        """A node was claimed, and all fields of its inputs were read."""
        values, inputs = answer.fields, attempt.plan.inputs(attempt.key.node)
        count = len(inputs.gate.fields) if inputs.gate is not None else 0
        if attempt.runs_always:
            answer = answer._replace(halt="", left_seconds=None)
        taken = Taken(attempt.plan, attempt.key, attempt.shard_key, answer, values[count:])
        if inputs.gate is None or answer.halt:
            self._claimed.append((attempt, taken))
            return
        try:
            self._passed(attempt, taken, inner_ending(attempt, inputs.gate, values[:count]))
        except PutAsideError:
            decide = partial(inner_ending, attempt, inputs.gate, values[:count], condition_values(self._parts, attempt))
            self._beside.begin(attempt, decide, partial(self._passed_beside, attempt, taken))

    def _passed(self, attempt: Attempt, taken: Taken, ending: Ending | None) -> None:
        """Its gate was looked at."""
        if ending is None:
            self._claimed.append((attempt, taken))
        else:
            self._settler.end(attempt, ending)

    def _passed_beside(self, attempt: Attempt, taken: Taken, ending: Ending | None) -> None:
        self._passed(attempt, taken, ending)
        self.flush()

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
            if verdict.state == BESIDE:
                take_up = partial(self._children_beside.take_up, [taken])
                self._beside.begin(attempt, take_up, partial(self._taken_up, attempt, taken))
            else:
                self._settler.end(attempt, _ending(attempt, taken, verdict))

    def _taken_up(self, attempt: Attempt, taken: Taken, found: tuple[list[Verdict], list[Ready]]) -> None:
        [verdict], ready = found
        self._parts.dispatcher.publish(ready)
        self._settler.end(attempt, _ending(attempt, taken, verdict))

    def _waiting(self, ending: Ending, advance: Advance) -> None:
        """The store has answered that a node waits for a child, or does not any more."""
        run_id = run_of_ticket(ending.ticket)
        if advance.word is Word.STALE:
            if ends_with_parent(ending.plan, ending.key.node):
                self._orphans.end([run_id])
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
