"""What people do to runs in the random lives."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.model.lives import picks, times, token_of
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
            self._same(self._lab.resume(run_id), run.model.resume())
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
