"""What happens around the runs in the random lives."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from taskmesh.store.calls import NodeKey
from tests.model.answers import RUN_DEADLINE, RUN_HALTED
from tests.model.case import LEASE_SECONDS
from tests.model.forking_rules import ForkingRules
from tests.model.lives import LONGEST_DELAY_SECONDS, pick_node, picks, times, token_of
from tests.model.pair import HEALER, MOST_RUNS
from tests.model.shape import BEFORE_HOOKS, BEFORE_UNDOS
from tests.model.steering_rules import RARELY

HOLDERS = ("first", "second")


class SurroundingRules(ForkingRules):
    """Time passes, leases end, timers ring or get lost, the keeper looks; runs are halted and undone."""

    @rule(holder=st.sampled_from(HOLDERS), dies=st.booleans())
    def renew(self, holder: str, dies: bool) -> None:
        assert self._lab.renew(holder, LEASE_SECONDS) == (holder in self._living)
        self._leases[holder] = self._now + LEASE_SECONDS
        if dies:
            self._lab.end(holder)
            del self._leases[holder]

    @rule(seconds=st.sampled_from((1.0, 1.0, 1.0, LEASE_SECONDS - 1, LEASE_SECONDS)), flush=st.booleans())
    def pass_time(self, seconds: float, flush: bool) -> None:
        """With ``flush``, the server has forgotten its scripts afterwards."""
        self._now += seconds
        self._lab.set_time(self._now)
        for run in self._runs.values():
            run.model.now = self._now
        if flush:
            self._lab.flush_scripts()

    @rule(pick=picks, at=picks)
    def redrive(self, pick: int, at: int) -> None:
        run_id, run = self._pick_run(pick)
        self._redrive(run_id, pick_node(run.model, at))

    @rule()
    def ring(self) -> None:
        """The keeper rings what is due."""
        for (run_id, node), due in sorted(self._lab.timers().items()):
            if node == RUN_HALTED:
                self._end_halted(run_id)
            elif node == RUN_DEADLINE and due <= self._now:
                self._ring_deadline(run_id)
            elif node >= 0 and due <= self._now:
                self._wake(run_id, node)

    @precondition(lambda self: len(self._runs) == MOST_RUNS)
    @rule(pick=picks)
    def halt_sleepers(self, pick: int) -> None:
        """A node is to be tried again much later when its run is halted: by another that fails, where there is one."""
        run_id, run = self._pick_run(pick)
        if run.model.is_held:
            return
        ready = [at for at, node in run.model.nodes.items() if node.state == "ready"][:2]
        tokens = [self._claim(run_id, node, token_of(run.model, node), HEALER).numbers[1] for node in ready]
        if ready:
            key = NodeKey(run_id, ready[0])
            answer = self._lab.retry(run.plan, key, tokens[0], LONGEST_DELAY_SECONDS, HEALER)
            self._same(answer, run.model.retry(ready[0], tokens[0], LONGEST_DELAY_SECONDS, HEALER))
        if len(ready) > 1:
            self._end(run_id, ready[1], tokens[1], "failed", dies=True, halt="failed")
        else:
            self.halt(pick, "cancelled", compensates=False)
        self.ring()

    @rule(pick=picks, at=picks)
    def lose_timer(self, pick: int, at: int) -> None:
        run_id, run = self._pick_run(pick)
        self._forget_timer(run_id, pick_node(run.model, at, "retrying"))

    @precondition(lambda self: len(self._runs) == MOST_RUNS)
    @rule(pick=picks, status=st.sampled_from(("cancelled", "failed")), compensates=st.booleans())
    def halt(self, pick: int, status: str, compensates: bool) -> None:
        run_id, run = self._pick_run(pick)
        self._same(self._lab.halt(run_id, status, compensates), run.model.halt_with(status, compensates))

    @precondition(lambda self: len(self._runs) == MOST_RUNS)
    @rule(pick=picks, dies=st.booleans(), repeats=times)
    def compensate(self, pick: int, dies: bool, repeats: int) -> None:
        """With ``dies``, the caller gets no further than the first script."""
        run_id, run = self._pick_run(pick)
        for _ in range(repeats):
            answer = self._same(self._lab.compensate(run.plan, run_id), run.model.compensate())
            if answer.word == "compensating" and not dies:
                self._tell_again(run_id, BEFORE_UNDOS)

    @precondition(lambda self: len(self._runs) == MOST_RUNS)
    @rule(
        pick=picks,
        sure=picks,
        undone=st.lists(st.sampled_from(("succeeded", "failed")), min_size=1, max_size=4),
        count=st.integers(1, 4),
        dies=st.booleans(),
        mends=st.booleans(),
    )
    def fail_and_undo(self, pick: int, sure: int, undone: list[str], count: int, dies: bool, mends: bool) -> None:
        """Some nodes succeed, then the run fails and is undone, which may fail, too, and then be begun again."""
        fit = [
            at for at, each in enumerate(self._runs.values()) if each.model.shape.undoable and not each.model.has_ended
        ]
        if not fit or sure >= RARELY:
            return
        pick = fit[pick % len(fit)]
        run_id, run = self._pick_run(pick)
        self.pass_time(LEASE_SECONDS, flush=False)
        self.renew(HEALER, dies=False)
        for state in ["succeeded"] * count:
            self._work_on(run_id, state, state, dies=False)
        self.halt(pick, "failed", compensates=True)
        self.ring()
        nodes = range(run.model.shape.undo_base)
        for node in (*nodes, BEFORE_HOOKS, *nodes, BEFORE_UNDOS):
            self._look_after(run_id, node)
        for state in undone * 3:
            self._work_on(run_id, "succeeded", state, dies)
        if mends:
            self.compensate(pick, dies, 2)
            self._work_on(run_id, "succeeded", "succeeded", dies)
