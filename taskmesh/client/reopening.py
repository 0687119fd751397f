"""Lets ended runs go on: from the nodes that failed, or from a node on.

The run is reopened paused; then its nodes are reset in slices, and the runs of items with which maps of it go on; only
then it is resumed. Whoever dies in between leaves a run that says what it is paused for, and the same wish, or a
resume, finishes that.
"""

from __future__ import annotations

from collections.abc import Sequence

from taskmesh.client.copies import WHY_NOT
from taskmesh.client.maps_again import MapsAgain
from taskmesh.client.parts import ClientParts
from taskmesh.client.reopening_rules import ReopeningRules
from taskmesh.client.resetting import Resetting
from taskmesh.client.restarting import Restarting
from taskmesh.client.verdicts import Verdict, checked, half_done, refused, verdict_of
from taskmesh.client.wishes import RERUN, RETRY, Wish, kind_of, read_wish
from taskmesh.dispatch.plan import Plan
from taskmesh.errors import RunNotFoundError
from taskmesh.model.states import RETRIABLE_RUN_STATES, RunState
from taskmesh.store.calls import Controlled, Who, Word
from taskmesh.store.controls import Controls
from taskmesh.store.family import RunKey


class Reopening:
    """Retries and re-runs."""

    def __init__(self, parts: ClientParts) -> None:
        self._parts = parts
        self._controls = Controls(parts.store)
        self._resetting = Resetting(parts)
        self._restarting = Restarting(parts)
        self._maps = MapsAgain(parts)
        self._rules = ReopeningRules(parts)

    def retry(self, run_ids: Sequence[str], who: Who) -> list[Verdict]:
        """Run again what has failed, was cancelled or has not ended in ended runs, and what depends on it.

        Of a map, those items.
        """
        return [self._begin(run_id, RETRY, who) for run_id in run_ids]

    def retry_node(self, run_id: str, node: str, who: Who) -> Verdict:
        """As ``retry``, from a node that has not succeeded, or a map some of whose items have not, or one of these.

        :raises RunNotFoundError: no such run. :raises UsageError: it has no such node, or the map no such item.
        """
        return self._begin_at(run_id, kind_of(RETRY, node), who)

    def rerun(self, run_id: str, node: str, who: Who) -> Verdict:
        """Run a node of an ended run again, or an item of a map, all that depends on it, and what has not succeeded.

        :raises RunNotFoundError: no such run. :raises UsageError: it has no such node, or the map no such item.
        """
        return self._begin_at(run_id, kind_of(RERUN, node), who)

    def finish(self, run_id: str, kind: str) -> Controlled:
        """Do what a reopened run is paused for, from wherever it was left, and resume it."""
        found = self._restarting.plan_of(run_id)
        if found is None:
            return Controlled(Word.UNKNOWN)
        plan, shard_key = found
        wish = read_wish(plan, kind)
        self._resetting.reset(run_id, plan, shard_key, kind, wish)
        self._let_items_go_on(run_id, plan, wish)
        # Whatever was forgotten of a terminated run must be found by the keeper before anybody may die.
        self._restarting.hold(run_id)
        [answer] = self._controls.resume_runs([RunKey(run_id, plan.hash, plan.pools[0])], kind)
        if answer.word is Word.RESUMED:
            self._restarting.start([run_id])
        elif answer.word is Word.ENDED:
            self._restarting.tell_parents([run_id])
        return answer

    def _begin_at(self, run_id: str, kind: str, who: Who) -> Verdict:
        found = self._restarting.plan_of(run_id)
        if found is None:
            raise RunNotFoundError(run_id)
        if found[0].flow.copies:
            return refused(run_id, WHY_NOT)
        wish = read_wish(found[0], kind)
        why_not = self._rules.why_not(run_id, found[0], wish)
        return refused(run_id, why_not) if why_not else self._reopen(run_id, kind, who)

    def _begin(self, run_id: str, kind: str, who: Who) -> Verdict:
        found = self._restarting.plan_of(run_id)
        if found is not None and found[0].flow.copies:
            return refused(run_id, WHY_NOT)
        [status] = self._parts.reader.statuses([run_id])
        if status is RunState.SUCCEEDED:
            return refused(run_id, f"has succeeded; `taskmesh rerun {run_id} --from NODE` runs a part of it again")
        return self._reopen(run_id, kind, who)

    def _reopen(self, run_id: str, kind: str, who: Who) -> Verdict:
        flow_hash = self._parts.reader.run_fields(run_id, ("flow",))[0] or b""
        answer = self._controls.reopen_run(run_id, flow_hash.decode(), kind, checked(who))
        if answer.word is Word.REOPENED:
            return self._finished(run_id, kind, who)
        if answer.word is Word.RUNNING:
            return refused(run_id, self._why_not_yet(run_id))
        if answer.word is Word.ENDED:
            return refused(run_id, f"has ended as {answer.detail}: it cannot go on, as it has been undone")
        if answer.word is Word.PREPARING:
            return refused(run_id, half_done(run_id, answer.detail))
        return verdict_of(run_id, answer)

    def _why_not_yet(self, run_id: str) -> str:
        [halt] = self._parts.reader.run_fields(run_id, ("halt",))
        if halt:
            why = f"`taskmesh explain {run_id}` says what it waits for"
            return f"has not ended, and nothing more of it starts; do that when it has: {why}"
        return "has not ended; what has not run yet will"

    def _finished(self, run_id: str, kind: str, who: Who) -> Verdict:
        """What still ran of a terminated run may have ended it meanwhile; then it is reopened once more."""
        answer = self.finish(run_id, kind)
        if answer.word is Word.ENDED and answer.detail in RETRIABLE_RUN_STATES:
            return self._reopen(run_id, kind, who)
        return Verdict(run_id, answer.word is not Word.UNKNOWN)

    def _let_items_go_on(self, run_id: str, plan: Plan, wish: Wish) -> None:
        """Reopen the runs of the items of maps that were reset for that; of what cannot, a map hears as before."""
        for each in self._maps.to_reopen(run_id, plan, wish):
            kind = kind_of(wish.verb, wish.item) if wish.item and each.place == wish.place else RETRY
            self._reopen(each.run_id, kind, Who(f"run {run_id}", f"its map {plan.name_of(each.place)} goes on"))
