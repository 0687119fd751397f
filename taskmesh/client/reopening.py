"""Lets ended runs go on: from the nodes that failed, or from a node on.

The run is reopened paused; then its nodes are reset in slices, and only then it is resumed. Whoever dies in between
leaves a run that says what it is paused for, and the same wish, or a resume, finishes that.
"""

from __future__ import annotations

from collections.abc import Sequence

from taskmesh.client.copies import WHY_NOT
from taskmesh.client.parts import ClientParts
from taskmesh.client.resetting import Resetting
from taskmesh.client.restarting import Restarting
from taskmesh.client.verdicts import Verdict, checked, half_done, refused, verdict_of
from taskmesh.dispatch.plan import Plan
from taskmesh.errors import RunNotFoundError, UsageError
from taskmesh.model.problems import Hints
from taskmesh.model.states import RETRIABLE_RUN_STATES, RunState
from taskmesh.store.calls import Controlled, Who, Word
from taskmesh.store.controls import Controls
from taskmesh.store.family import RunKey

RETRY = "retry"
RERUN = "rerun"


class Reopening:
    """Retries and re-runs."""

    def __init__(self, parts: ClientParts) -> None:
        self._parts = parts
        self._controls = Controls(parts.store)
        self._resetting = Resetting(parts)
        self._restarting = Restarting(parts)

    def retry(self, run_ids: Sequence[str], who: Who) -> list[Verdict]:
        """Run again what has failed, was cancelled or has not ended in ended runs, and what depends on it."""
        return [self._begin(run_id, RETRY, who) for run_id in run_ids]

    def rerun(self, run_id: str, node: str, who: Who) -> Verdict:
        """Run a node of an ended run again, all that depends on it, and all that has not succeeded.

        :raises RunNotFoundError: no such run. :raises UsageError: it has no such node.
        """
        found = self._restarting.plan_of(run_id)
        if found is None:
            raise RunNotFoundError(run_id)
        place_of(found[0], node)
        return self._begin(run_id, f"{RERUN} {node}", who)

    def finish(self, run_id: str, kind: str) -> Controlled:
        """Do what a reopened run is paused for, from wherever it was left, and resume it."""
        found = self._restarting.plan_of(run_id)
        if found is None:
            return Controlled(Word.UNKNOWN)
        plan, shard_key = found
        origin = plan.graph.index[kind.removeprefix(RERUN).strip()] if kind.startswith(RERUN) else None
        self._resetting.reset(run_id, plan, shard_key, kind, origin)
        # Whatever was forgotten of a terminated run must be found by the keeper before anybody may die.
        self._restarting.hold(run_id)
        [answer] = self._controls.resume_runs([RunKey(run_id, plan.hash, plan.pools[0])], kind)
        if answer.word is Word.RESUMED:
            self._restarting.start([run_id])
        elif answer.word is Word.ENDED:
            self._restarting.tell_parents([run_id])
        return answer

    def _begin(self, run_id: str, kind: str, who: Who) -> Verdict:
        found = self._restarting.plan_of(run_id)
        if found is not None and found[0].flow.copies:
            return refused(run_id, WHY_NOT)
        [status] = self._parts.reader.statuses([run_id])
        if kind == RETRY and status is RunState.SUCCEEDED:
            return refused(run_id, f"has succeeded; `taskmesh rerun {run_id} --from NODE` runs a part of it again")
        flow_hash = self._parts.reader.run_fields(run_id, ("flow",))[0] or b""
        answer = self._controls.reopen_run(run_id, flow_hash.decode(), kind, checked(who))
        if answer.word is Word.REOPENED:
            return self._finished(run_id, kind, who)
        if answer.word is Word.RUNNING:
            return refused(run_id, "has not ended; what has not run yet will")
        if answer.word is Word.ENDED:
            return refused(run_id, f"has ended as {answer.detail}: it cannot go on, as it has been undone")
        if answer.word is Word.PREPARING:
            return refused(run_id, half_done(run_id, answer.detail))
        return verdict_of(run_id, answer)

    def _finished(self, run_id: str, kind: str, who: Who) -> Verdict:
        """What still ran of a terminated run may have ended it meanwhile; then it is reopened once more."""
        answer = self.finish(run_id, kind)
        if answer.word is Word.ENDED and answer.detail in RETRIABLE_RUN_STATES:
            return self._begin(run_id, kind, who)
        return Verdict(run_id, answer.word is not Word.UNKNOWN)


def place_of(plan: Plan, node: str) -> int:
    """The place of a node of a flow.

    :raises UsageError: it has none of this name.
    """
    place = plan.graph.index.get(node)
    if place is None:
        hint = Hints(plan.graph.names).did_you_mean(node)
        raise UsageError(f"flow {plan.flow.name!r} has no node {node!r}{hint}")
    return place
