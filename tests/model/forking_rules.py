"""Forks in the random lives: runs that are stored paused, inherit some of their nodes, and run the others."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from taskmesh.model.flow import OnFailure
from tests.model.answers import Answer
from tests.model.lives import SLICE, Run, deadlines, picks, shapes, times
from tests.model.pair import MOST_RUNS
from tests.model.reference import RunModel
from tests.model.shape import Shape
from tests.model.steering import FORK
from tests.model.steering_rules import SteeringRules

SOMETIMES = 40
"""Of a hundred: most second runs are submitted."""


class ForkingRules(SteeringRules):
    """Somebody forks a run that is not among these, and may die at any step of it."""

    @precondition(lambda self: len(self._runs) < MOST_RUNS)
    @rule(
        sure=picks,
        shape=shapes,
        on_failure=st.sampled_from(OnFailure),
        chosen=st.sets(st.integers(0, 7)),
        deadline=deadlines,
        repeats=times,
        dies_after=st.sampled_from((0, 1, 2, 99, 99, 99)),
    )
    def fork(
        self,
        sure: int,
        shape: Shape,
        on_failure: str,
        chosen: set[int],
        deadline: float | None,
        repeats: int,
        dies_after: int,
    ) -> None:
        if sure >= SOMETIMES:
            return
        plan, run_id = shape.plan(on_failure), f"r{next(self._ids)}"
        self._miss_flow(run_id, plan, lambda: self._lab.fork(plan, run_id, b"digest", with_flow=False))
        model = RunModel(shape, deadline and self._now + deadline, forked=True)
        model.now = self._now
        run = self._runs[run_id] = Run(plan, model, b"digest", inherits=_closed(shape, chosen))
        self._same(self._lab.fork(plan, run_id, run.digest, True, deadline), Answer("admitted"))
        for _ in range(repeats - 1):
            self.fork_again(len(self._runs) - 1, other_body=False)
        self._finish_fork(run_id, dies_after)

    @rule(pick=picks, other_body=st.booleans())
    def fork_again(self, pick: int, other_body: bool) -> None:
        """The same wish again, or the id of another run, be that one a fork or not."""
        run_id, run = self._pick_run(pick)
        digest = b"another" if other_body else run.digest
        expected = Answer("conflict") if other_body else run.model.fork_again()
        self._same(self._lab.fork(run.plan, run_id, digest, with_flow=True), expected)

    @rule(pick=picks, late=st.booleans())
    def finish(self, pick: int, late: bool) -> None:
        """Somebody finishes what was begun; with ``late``, a slice of another comes after that."""
        run_id, run = self._pick_run(pick)
        kind = run.model.paused
        if kind == FORK and run.model.status == "running":
            self._finish_fork(run_id, 99)
        elif kind not in ("", "user") and run.model.status == "running":
            self._finish_reopened(run_id, kind, late)
        if late and kind == FORK:
            self._inherit(run_id, run.inherits[:SLICE])

    def _finish_fork(self, run_id: str, dies_after: int) -> None:
        nodes = self._runs[run_id].inherits
        for start in range(0, len(nodes), SLICE):
            if start // SLICE >= dies_after:
                return
            self._inherit(run_id, nodes[start : start + SLICE])
        self._prepare(run_id, FORK, None, dies_after)

    def _inherit(self, run_id: str, nodes: tuple[int, ...]) -> None:
        self._same(self._lab.inherit(run_id, nodes), self._runs[run_id].model.inherit(nodes))


def _closed(shape: Shape, chosen: set[int]) -> tuple[int, ...]:
    """The nodes of ``chosen`` all of whose ancestors are chosen, too."""
    found: list[int] = []
    for at, parents in enumerate(shape.parents):
        if at in chosen and at not in shape.flow_hooks and set(parents) <= set(found):
            found.append(at)
    return tuple(found)
