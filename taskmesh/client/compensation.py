"""Undoing what a run did: what may be asked, and what is said of how it came out."""

from __future__ import annotations

from taskmesh.client.details import run_details
from taskmesh.client.first_failure import first_failure
from taskmesh.client.parts import ClientParts
from taskmesh.dispatch.advance import Advancer
from taskmesh.dispatch.dispatcher import outgoing
from taskmesh.dispatch.plan import BEFORE_UNDOS, Plan
from taskmesh.errors import (
    CompensationFailedError,
    RunCancelledError,
    RunError,
    RunFailedError,
    RunNotFoundError,
    RunStateError,
    UsageError,
)
from taskmesh.model.flow import OnFailure
from taskmesh.model.states import RunState
from taskmesh.store.calls import NodeKey, Word
from taskmesh.store.controls import Controls
from taskmesh.store.records import RunRecord


class Compensator:
    """Begins to undo what ended runs did. Safe in threads."""

    def __init__(self, parts: ClientParts, advancer: Advancer) -> None:
        self._parts = parts
        self._controls = Controls(parts.store)
        self._advancer = advancer

    def compensate(self, run_id: str, plan: Plan) -> None:
        """Undo, or go on with it. Should the caller die half-way, the keeper goes on; the same call again does no harm.

        :raises RunNotFoundError: no such run. :raises RunStateError: it is in no state for it.
        """
        [(word, status)] = self._controls.compensate_runs([(run_id, plan.hash, plan.pools[0])])
        if word is not Word.COMPENSATING:
            raise _refusal(run_id, word, status)
        [shard_key] = self._parts.reader.run_fields(run_id, ["shard_key"])
        if shard_key is not None:
            advance = self._advancer.resume(plan, NodeKey(run_id, BEFORE_UNDOS), shard_key.decode())
            self._parts.publisher.publish([outgoing(ready) for ready in advance.ready])


def refuse_empty(plan: Plan) -> None:
    """:raises UsageError: a flow is to undo what it did on a failure, and has no way to."""
    if plan.flow.on_failure is OnFailure.COMPENSATE and plan.undo_base is None:
        raise UsageError(
            f"flow {plan.flow.name!r}: on_failure is compensate, but nothing says what would undo any of its nodes; "
            "give nodes `compensate`, or name the app whose tasks say it (-A)"
        )


def unhappy_end(record: RunRecord, plan: Plan) -> RunError:
    """The error that tells how a run ended that did not succeed."""
    run_id, status = record.summary.run_id, record.summary.status
    if status is RunState.COMPENSATION_FAILED:
        return CompensationFailedError(run_id, *_first_failure(record, plan), run_details(record, plan).left_to_undo)
    if status in (RunState.CANCELLED, RunState.TERMINATED):
        return RunCancelledError(run_id, status)
    if record.summary.halt == RunState.CANCELLED:
        return RunCancelledError(run_id)
    return RunFailedError(run_id, *first_failure(record, plan))


def _first_failure(record: RunRecord, plan: Plan) -> tuple[str, str]:
    """Of the undos, where no node had failed: it was cancelled then."""
    if record.failed_node is not None:
        return first_failure(record, plan)
    undos = {node.undo.name: node.undo for node in run_details(record, plan).nodes if node.undo}
    return next((name, (undo.error or {}).get("message", "")) for name, undo in undos.items() if undo.error)


def _refusal(run_id: str, word: Word, status: str) -> RunError:
    if word is Word.UNKNOWN:
        return RunNotFoundError(run_id)
    if word is Word.NOTHING:
        return RunStateError(run_id, "has nothing to undo: nothing that can be undone had succeeded")
    why = f"is {status}; only one that has failed or was cancelled can be compensated"
    if status == RunState.RUNNING:
        why += f" (`taskmesh cancel {run_id} --compensate` cancels it first)"
    return RunStateError(run_id, why)
