"""Random lives of runs: each step happens to the scripts and to the reference model, which must stay alike."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from taskmesh.model.flow import OnFailure
from taskmesh.store.calls import NodeKey
from taskmesh.store.link import Link
from tests.model.answers import RUN_DEADLINE, RUN_HALTED, Answer
from tests.model.forking_rules import ForkingRules
from tests.model.invariants import check_quiet
from tests.model.lives import (
    LONGEST_DELAY_SECONDS,
    Run,
    behind,
    deadlines,
    delays,
    holder_of,
    outcomes,
    pick_node,
    picks,
    shapes,
    times,
    token_of,
)
from tests.model.pair import HEALER, MOST_RUNS, Figures
from tests.model.reference import RunModel
from tests.model.shape import BEFORE_UNDOS, ROOT, Shape
from tests.model.steering_rules import RARELY

HOLDERS = ("first", "second")
LEASE_SECONDS = 30.0
PASSES = 40
"""A keeper that looks after everything this often brings runs of eight nodes to their end."""


class StoreMachine(ForkingRules):
    """Up to two runs, two holders that come and go, and a network that loses, repeats and delays."""

    def __init__(self, link: Link, namespace: str, figures: Figures) -> None:
        super().__init__(link, namespace, figures)
        for holder in HOLDERS:
            self.renew(holder, dies=False)

    # Submitting.

    @initialize(shape=shapes, dies=st.booleans())
    def begin(self, shape: Shape, dies: bool) -> None:
        self.submit(shape, "continue", dies, first=None, deadline=None)

    @precondition(lambda self: len(self._runs) < MOST_RUNS)
    @rule(
        shape=shapes,
        on_failure=st.sampled_from(OnFailure),
        dies=st.booleans(),
        first=st.none() | outcomes,
        deadline=deadlines,
    )
    def submit(self, shape: Shape, on_failure: str, dies: bool, first: str | None, deadline: float | None) -> None:
        """With ``dies``, the client gets no further than the first script; ``first`` is what its first node came to."""
        plan, run_id = shape.plan(on_failure), f"r{next(self._ids)}"
        assert {place: tuple(plan.dependents(place)) for place in shape.children} == shape.children
        self._miss_flow(run_id, plan, lambda: self._lab.admit(plan, run_id, run_id.encode(), with_flow=False))
        run = self._runs[run_id] = Run(plan, RunModel(shape, deadline and self._now + deadline), run_id.encode())
        run.model.now = self._now
        ready = tuple(at for at in sorted(run.model.nodes) if at != ROOT)
        admitted = self._lab.admit(plan, run_id, run.digest, True, deadline)
        self._same(admitted, Answer("admitted", ready=ready))
        if not dies and ROOT in run.model.nodes:
            self._tell_again(run_id, ROOT)
        if first is not None:
            self._end(run_id, 0, self._claim(run_id, 0, 1, HOLDERS[0]).numbers[1], first, dies=True)

    @rule(pick=picks, other_body=st.booleans())
    def submit_again(self, pick: int, other_body: bool) -> None:
        run_id, run = self._pick_run(pick)
        expected = Answer("conflict") if other_body else run.model.admit_again()
        digest = b"another" if other_body else run.digest
        self._same(self._lab.admit(run.plan, run_id, digest, with_flow=True), expected)

    # What holders do.

    @rule(
        pick=picks,
        at=picks,
        state=st.sampled_from(("ready", "running", "ready", "running", "retrying")),
        holder=st.sampled_from(HOLDERS),
        back=st.sampled_from((0, 0, 1, -1)),
        repeats=times,
    )
    def claim(self, pick: int, at: int, state: str, holder: str, back: int, repeats: int) -> None:
        run_id, run = self._pick_run(pick)
        node = pick_node(run.model, at, state)
        token = token_of(run.model, node) - back
        for _ in range(repeats):
            self._claim(run_id, node, token, holder)

    @rule(
        pick=picks,
        at=picks,
        back=behind,
        state=outcomes,
        repeats=times,
        dies=st.booleans(),
    )
    def settle(self, pick: int, at: int, back: int, state: str, repeats: int, dies: bool) -> None:
        """With ``dies``, the teller gets no further than the first slice of dependents."""
        run_id, run = self._pick_run(pick)
        node = pick_node(run.model, at, "running")
        token = token_of(run.model, node) - back
        for _ in range(repeats):
            self._end(run_id, node, token, state, dies)

    @rule(
        pick=picks,
        at=picks,
        back=behind,
        delay=delays,
        counts=st.booleans(),
        repeats=times,
        then=st.sampled_from(("", "wake", "lose")),
    )
    def retry(self, pick: int, at: int, back: int, delay: float, counts: bool, repeats: int, then: str) -> None:
        """Afterwards somebody may wake it, due or not, or its timer may get lost and be missed by the keeper."""
        run_id, run = self._pick_run(pick)
        node = pick_node(run.model, at, "running")
        token = token_of(run.model, node) - back
        for _ in range(repeats):
            holder = holder_of(run.model, node)
            answer = self._lab.retry(run.plan, NodeKey(run_id, node), token, delay, holder, counts)
            self._same(answer, run.model.retry(node, token, delay, holder, counts))
        if then == "wake":
            self._wake(run_id, node)
        elif then == "lose":
            self._forget_timer(run_id, node)
            self._redrive(run_id, node)

    @rule(pick=picks, at=picks, back=behind, checkpoint=st.sampled_from((b"", b"a", b"b")))
    def beat(self, pick: int, at: int, back: int, checkpoint: bytes) -> None:
        run_id, run = self._pick_run(pick)
        node = pick_node(run.model, at, "running")
        token, holder = token_of(run.model, node) - back, holder_of(run.model, node)
        answer = self._lab.beat(run_id, node, token, checkpoint, holder)
        self._same(answer, run.model.beat(node, token, checkpoint, holder))

    @rule(pick=picks, at=picks, state=st.sampled_from(("retrying", "retrying", "ready")), repeats=times)
    def wake(self, pick: int, at: int, state: str, repeats: int) -> None:
        """Somebody wakes a node, due or not."""
        run_id, run = self._pick_run(pick)
        node = pick_node(run.model, at, state)
        for _ in range(repeats):
            self._wake(run_id, node)

    @rule(pick=picks, states=st.lists(outcomes, min_size=1, max_size=4), dies=st.booleans())
    def work(self, pick: int, states: list[str], dies: bool) -> None:
        """A healthy worker takes up one node after the other."""
        run_id, _ = self._pick_run(pick)
        self.renew(HEALER, dies=False)
        for state in states:
            self._work_on(run_id, state, state, dies)

    @rule(pick=picks, at=picks, place=picks, repeats=times)
    def spread(self, pick: int, at: int, place: int, repeats: int) -> None:
        """Any teller, old or new, tells any slice."""
        run_id, run = self._pick_run(pick)
        node = pick_node(run.model, at, "succeeded", "failed", "cancelled", "skipped")
        slices = run.model.shape.slices(node)
        place %= len(slices)
        for _ in range(repeats):
            answer = self._lab.spread(run.plan, run_id, node, place)
            self._same(answer, run.model.spread(node, slices[place]))

    @rule(pick=picks, at=picks, back=behind, counts=st.booleans(), repeats=times)
    def release(self, pick: int, at: int, back: int, counts: bool, repeats: int) -> None:
        run_id, run = self._pick_run(pick)
        node = pick_node(run.model, at, "running")
        token = token_of(run.model, node) - back
        for _ in range(repeats):
            holder = holder_of(run.model, node)
            answer = self._lab.release(run.plan, NodeKey(run_id, node), token, counts, holder)
            self._same(answer, run.model.release(node, token, counts, holder))

    @rule(pick=picks, at=picks, holder=st.sampled_from(HOLDERS))
    def take_over(self, pick: int, at: int, holder: str) -> None:
        """Everybody sleeps through his lease, and one who wakes up gets the message of a node that runs."""
        run_id, run = self._pick_run(pick)
        node = pick_node(run.model, at, "running")
        self.pass_time(LEASE_SECONDS, flush=False)
        self.renew(holder, dies=False)
        self._claim(run_id, node, token_of(run.model, node), holder)
        self._stranger_speaks(run_id, node)

    @rule(holder=st.sampled_from(HOLDERS), dies=st.booleans())
    def renew(self, holder: str, dies: bool) -> None:
        assert self._lab.renew(holder, LEASE_SECONDS) == (holder in self._living)
        self._leases[holder] = self._now + LEASE_SECONDS
        if dies:
            self._lab.end(holder)
            del self._leases[holder]

    # What happens around them.

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
        for node in (*range(run.model.shape.undo_base), BEFORE_UNDOS):
            self._look_after(run_id, node)
        for state in undone * 3:
            self._work_on(run_id, "succeeded", state, dies)
        if mends:
            self.compensate(pick, dies, 2)
            self._work_on(run_id, "succeeded", "succeeded", dies)

    @invariant()
    def all_is_alike(self) -> None:
        self._figures.steps += 1
        self._figures.statuses.update(run.model.status for run in self._runs.values())
        outboxes = self._lab.outboxes()
        expected = {
            (run.model.shape.pool_of(node), run_id, node)
            for run_id, run in self._runs.items()
            for node in run.model.outbox
        }
        assert outboxes == expected
        assert self._lab.timers() == {
            (run_id, node): due for run_id, run in self._runs.items() for node, due in run.model.timers.items()
        }
        ended = {run_id for run_id, run in self._runs.items() if run.model.has_ended}
        assert self._lab.lists() == (self._runs.keys() - ended, ended)
        for run_id, run in self._runs.items():
            self._compare(run_id, run, {node for _, each, node in outboxes if each == run_id})

    def teardown(self) -> None:
        """Faults stop; then everything must come to its end."""
        self.pass_time(max(LEASE_SECONDS, LONGEST_DELAY_SECONDS), flush=False)
        self.renew(HEALER, dies=False)
        for pick in range(len(self._runs)):
            self.resume(pick, 1, dies=True)
            self.finish(pick, late=False)
        for _ in range(PASSES):
            self.ring()
            for _, run_id, node in sorted(self._lab.outboxes()):
                self._look_after(run_id, node)
        self.all_is_alike()
        check_quiet(self._lab, {run_id: run.plan for run_id, run in self._runs.items()})


def search(link: Link, namespace: str, examples: int, steps: int, shrink: bool = True) -> Figures:
    """Try random lives, the same ones each time; an assertion fails with the shortest one that went wrong."""
    figures = Figures()

    class Bound(StoreMachine):
        def __init__(self) -> None:
            super().__init__(link, namespace, figures)

    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        database=None,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Bound, settings=chosen)
    return figures
