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
from tests.model.alike import check_alike
from tests.model.answers import Answer
from tests.model.case import LEASE_SECONDS
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
from tests.model.shape import ROOT, Shape
from tests.model.surrounding_rules import HOLDERS, SurroundingRules

PASSES = 40
"""A keeper that looks after everything this often brings runs of eight nodes to their end."""


class StoreMachine(SurroundingRules):
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
        node = pick_node(run.model, at, "succeeded", "failed", "cancelled", "skipped", "upstream_failed")
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

    @invariant()
    def all_is_alike(self) -> None:
        self._figures.steps += 1
        self._figures.statuses.update(run.model.status for run in self._runs.values())
        check_alike(self._lab, self._runs)

    def teardown(self) -> None:
        """Faults stop; then everything must come to its end."""
        self.pass_time(max(LEASE_SECONDS, LONGEST_DELAY_SECONDS), flush=False)
        self.renew(HEALER, dies=False)
        for pick in range(len(self._runs)):
            self.resume(pick, 1, dies=True)
            self.finish(pick, late=False)
        for _ in range(PASSES):
            self.ring()
            for _, run_id, node in sorted(self._lab.read({}).outboxes):
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
