"""Steers runs as a whole: pause, resume, cancel, terminate; one run or many. Safe in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from taskmesh.client.forking import FORK, Forking, ForkWish
from taskmesh.client.identity import this_user
from taskmesh.client.parts import ClientParts
from taskmesh.client.reopening import Reopening
from taskmesh.client.restarting import Restarting
from taskmesh.client.verdicts import Verdict, checked, verdict_of
from taskmesh.dispatch.children.begun import begun_runs
from taskmesh.dispatch.children.children import ends_with_parent, is_bound
from taskmesh.dispatch.children.closing import TERMINATED
from taskmesh.dispatch.plan import Plan
from taskmesh.model.states import RunState
from taskmesh.store.calls import Controlled, Who, Word
from taskmesh.store.controls import Controls
from taskmesh.store.family import RunKey, run_key
from taskmesh.store.family_reader import FamilyReader

RUNS_PER_EXCHANGE = 200


class RunControl:
    """Each call may be repeated, and changes nothing then; one that died half-way is finished by the next."""

    def __init__(self, parts: ClientParts, max_value_bytes: int) -> None:
        self._parts = parts
        self._controls = Controls(parts.store)
        self._restarting = Restarting(parts)
        self._reopening = Reopening(parts)
        self._forking = Forking(parts, max_value_bytes)

    def pause(self, run_ids: Sequence[str], who: Who) -> list[Verdict]:
        """Let nothing more of runs start until they are resumed. What runs goes on to its end."""
        return self._batched(run_ids, lambda ids: self._pause(ids, checked(who)))

    def resume(self, run_ids: Sequence[str]) -> list[Verdict]:
        """Let paused runs go on."""
        return self._batched(run_ids, self._resume)

    def cancel(self, run_ids: Sequence[str], who: Who, compensate: bool = False) -> list[Verdict]:
        """Let nothing more of runs start, and tell what runs; with ``compensate``, have undone what they did."""
        return self._batched(run_ids, lambda ids: self._cancel(ids, checked(who), compensate))

    def terminate(self, run_ids: Sequence[str], who: Who) -> list[Verdict]:
        """End runs at once, whatever their nodes are doing."""
        return self._batched(run_ids, lambda ids: self._terminate(ids, checked(who)))

    def retry(self, run_ids: Sequence[str], who: Who) -> list[Verdict]:
        """Run again what has not succeeded of runs that have ended."""
        return self._reopening.retry(run_ids, who)

    def retry_node(self, run_id: str, node: str, who: Who) -> Verdict:
        """``retry``, from a node that has not succeeded, a map some of whose items have not, or one of these."""
        return self._reopening.retry_node(run_id, node, who)

    def rerun(self, run_id: str, node: str, who: Who) -> Verdict:
        """Run a node of an ended run again, all that depends on it, and all that has not succeeded."""
        return self._reopening.rerun(run_id, node, who)

    def fork(self, run_id: str, wish: ForkWish, who: Who) -> str:
        """Make a new run of what another one has done; see ``Forking``. Returns its id."""
        return self._forking.fork(run_id, wish, who)

    def _batched(self, run_ids: Sequence[str], act: Callable[[Sequence[str]], Sequence[Controlled]]) -> list[Verdict]:
        verdicts = []
        for start in range(0, len(run_ids), RUNS_PER_EXCHANGE):
            batch = run_ids[start : start + RUNS_PER_EXCHANGE]
            verdicts += [verdict_of(*each) for each in zip(batch, act(batch), strict=True)]
        return verdicts

    def _pause(self, run_ids: Sequence[str], who: Who) -> list[Controlled]:
        answers = self._controls.pause_runs(run_ids, who)
        paused = [id_ for id_, each in zip(run_ids, answers, strict=True) if each.word is Word.PAUSED]
        for _, child in self._children(paused, is_bound):
            self._pause([child], who)
        return answers

    def _resume(self, run_ids: Sequence[str]) -> list[Controlled]:
        answers = self._of_known(run_ids, lambda known: self._controls.resume_runs(known, who=Who(this_user())))
        resumed = [id_ for id_, each in answers.items() if each.word is Word.RESUMED]
        self._restarting.start(resumed)
        # Also of those that go on already: who resumed them may have died before their children were.
        running = [id_ for id_, each in answers.items() if each.word is Word.RUNNING]
        for _, child in self._children([*resumed, *running], is_bound):
            self._resume([child])
        for run_id, answer in answers.items():
            if answer.word is Word.PREPARING:
                finish = self._forking.finish if answer.detail.startswith(FORK) else self._reopening.finish
                answers[run_id] = finish(run_id, answer.detail)
        return [answers[run_id] for run_id in run_ids]

    def _cancel(self, run_ids: Sequence[str], who: Who, compensate: bool) -> list[Controlled]:
        answers = self._controls.halt_runs(run_ids, RunState.CANCELLED, who, compensate)
        self._restarting.start([id_ for id_, each in zip(run_ids, answers, strict=True) if each.detail == Word.PAUSED])
        return answers

    def _terminate(self, run_ids: Sequence[str], who: Who) -> list[Controlled]:
        # Read before, as a terminated run waits for nothing. What is begun meanwhile, or left by a caller that dies, is
        # ended by the keeper.
        children = list(self._children(run_ids, ends_with_parent))
        answers = self._of_known(run_ids, lambda known: self._controls.terminate_runs(known, who))
        self._restarting.tell_parents([id_ for id_, each in answers.items() if each.word is Word.TERMINATED])
        for parent, child in children:
            self._terminate([child], Who(f"run {parent}", TERMINATED))
        return [answers[run_id] for run_id in run_ids]

    def _children(self, run_ids: Sequence[str], goes_with: Callable[[Plan, int], bool]) -> Iterator[tuple[str, str]]:
        """The runs that nodes of runs wait for, and that go with them, each after its parent."""
        rows = self._parts.reader.fields_of_runs(run_ids, ("flow",)) if run_ids else []
        for run_id, (flow_hash,) in zip(run_ids, rows, strict=True):
            plan = self._parts.plans.get(flow_hash.decode(), run_id) if flow_hash else None
            if plan is not None and plan.begins_children:
                reader = FamilyReader.of(self._parts.store)
                awaited = [*reader.awaited_runs(run_id), *begun_runs(reader, plan, run_id)]
                yield from ((run_id, child) for place, child in awaited if goes_with(plan, place))

    def _of_known(
        self, run_ids: Sequence[str], act: Callable[[Sequence[RunKey]], Sequence[Controlled]]
    ) -> dict[str, Controlled]:
        """Do something to the runs that are there, by their flows."""
        rows = self._parts.reader.fields_of_runs(run_ids, ("flow", "parent"))
        known = [
            run_key(id_, flow, parent) for id_, (flow, parent) in zip(run_ids, rows, strict=True) if flow is not None
        ]
        done = dict(zip([each.run_id for each in known], act(known), strict=True))
        return {run_id: done.get(run_id, Controlled(Word.UNKNOWN)) for run_id in run_ids}
