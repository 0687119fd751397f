"""What people do to runs in the random lives."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from taskmesh.store.preparations import Reset
from tests.model.every_call import SIGNALS
from tests.model.lives import SLICE, pick_node, picks, times, token_of
from tests.model.pair import HEALER, MOST_RUNS, Pair

RARELY = 25
"""Of a hundred: what ends a run at once must not end most of them."""


class SteeringRules(Pair):
    """Somebody pauses runs, resumes and terminates them."""

    @precondition(lambda self: len(self._runs) == MOST_RUNS)
    @rule(pick=picks, repeats=times)
    def pause(self, pick: int, repeats: int) -> None:
        run_id, run = self._pick_run(pick)
        for _ in range(repeats):
            self._same(self._lab.pause(run_id), run.model.pause())

    @rule(pick=picks, at=picks, state=st.sampled_from(("succeeded", "skipped")), repeats=times, dies=st.booleans())
    def mark(self, pick: int, at: int, state: str, repeats: int, dies: bool) -> None:
        """Somebody ends a node by hand, whatever it is doing; it may be one that waits."""
        run_id, run = self._pick_run(pick)
        node = at % len(run.model.shape.parents)
        for _ in range(repeats):
            answer = self._same(self._lab.mark(run.plan, run_id, node, state), run.model.mark(node, state))
        if answer.word == "marked" and not dies:
            self._tell_again(run_id, node)

    @rule(
        pick=picks,
        at=picks,
        state=st.sampled_from(("running", "retrying", "ready", "waiting")),
        id_=st.sampled_from(SIGNALS),
        repeats=times,
    )
    def signal(self, pick: int, at: int, state: str, id_: str, repeats: int) -> None:
        """Somebody sends a node what it waits for, or does not."""
        run_id, run = self._pick_run(pick)
        node = pick_node(run.model, at, state)
        node = node if node in range(run.model.shape.undo_base) else 0
        for _ in range(repeats):
            self._same(self._lab.signal(run.plan, run_id, node, id_), run.model.signal(node, id_))

    @rule(pick=picks, at=picks, whole=st.booleans(), dies_after=st.sampled_from((0, 1, 2, 99, 99)), repeats=times)
    def run_again(self, pick: int, at: int, whole: bool, dies_after: int, repeats: int) -> None:
        """An ended run goes on; whoever does it may die after any slice, and is repeated."""
        run_id, run = self._pick_run(pick)
        origin = None if whole else at % len(run.model.shape.parents)
        kind = "retry" if whole else f"rerun n{origin}"
        for _ in range(repeats):
            answer = self._same(self._lab.reopen(run.plan, run_id, kind), run.model.reopen(kind))
        if answer.word == "reopened":
            self._prepare(run_id, kind, origin, dies_after)

    def _finish_reopened(self, run_id: str, kind: str, late: bool) -> None:
        run = self._runs[run_id]
        origin = int(kind.removeprefix("rerun n")) if kind.startswith("rerun") else None
        wishes = self._lab.resets(run.plan, run_id, origin)
        self._prepare(run_id, kind, origin, 99)
        if late:
            self._reset(run_id, kind, wishes)

    def _prepare(self, run_id: str, kind: str, origin: int | None, dies_after: int) -> None:
        run = self._runs[run_id]
        for node in sorted(run.model.nodes):
            record = run.model.nodes[node]
            if record.ended and not run.model.has_told_all(node):
                self._tell_again(run_id, node)
        if run.model.status != "running":
            # The last nodes of a terminated run were skipped by that; it must be reopened once more.
            return
        wishes = self._lab.resets(run.plan, run_id, origin)
        for start in range(0, len(wishes), SLICE):
            if start // SLICE >= dies_after:
                return
            self._reset(run_id, kind, wishes[start : start + SLICE])
        assert self._lab.resets(run.plan, run_id, origin) == []
        wanted = run.model.wanted(origin)
        assert {at: run.model.nodes[at].state if at in run.model.nodes else "waiting" for at in wanted} == wanted
        for node in sorted(run.model.nodes):
            if run.model.nodes[node].state == "ready":
                self._redrive(run_id, node)
        self._same(self._lab.resume(run.plan, run_id, kind), run.model.resume(kind))

    def _reset(self, run_id: str, kind: str, wishes: list[Reset]) -> None:
        run = self._runs[run_id]
        self._same(self._lab.reset(run.plan, run_id, kind, wishes), run.model.reset(wishes, kind))

    @precondition(lambda self: len(self._runs) == MOST_RUNS)
    @rule(pick=picks)
    def fail_while_paused(self, pick: int) -> None:
        """What runs of a paused run fails, and halts it: what was held ends then."""
        run_id, run = self._pick_run(pick)
        ready = [at for at, node in run.model.nodes.items() if node.state == "ready"]
        if run.model.is_held or len(ready) < 2:
            return
        token = self._claim(run_id, ready[0], token_of(run.model, ready[0]), HEALER).numbers[1]
        self.pause(pick, 1)
        self._end(run_id, ready[0], token, "failed", dies=True, halt="failed")
        token = self._claim(run_id, ready[1], token_of(run.model, ready[1]), HEALER).numbers[1]
        self._end(run_id, ready[1], token, "cancelled", dies=True)

    @rule(pick=picks, repeats=times, dies=st.booleans())
    def resume(self, pick: int, repeats: int, dies: bool) -> None:
        """With ``dies``, the caller does not get to publish the ready nodes."""
        run_id, run = self._pick_run(pick)
        for _ in range(repeats):
            self._same(self._lab.resume(run.plan, run_id), run.model.resume())
        for node in () if dies else sorted(run.model.nodes):
            if run.model.nodes[node].state == "ready":
                self._redrive(run_id, node)

    @precondition(lambda self: len(self._runs) == MOST_RUNS)
    @rule(pick=picks, sure=picks, paused=st.booleans(), repeats=times)
    def terminate(self, pick: int, sure: int, paused: bool, repeats: int) -> None:
        run_id, run = self._pick_run(pick)
        if paused:
            self.pause(pick, 1)
        for _ in range(repeats if sure < RARELY else 0):
            self._same(self._lab.terminate(run.plan, run_id), run.model.terminate())
