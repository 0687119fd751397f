"""Every call twice: to the scripts and to the reference model, whose answers must be the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from hypothesis.stateful import RuleBasedStateMachine

from taskmesh.dispatch.plan import Plan
from taskmesh.store.calls import NodeKey
from taskmesh.store.link import Link
from tests.model.answers import RUN_DEADLINE, RUN_HALTED, Answer
from tests.model.lab import Lab
from tests.model.lives import Run, holder_of, token_of

MOST_RUNS = 2
STRANGER = "stranger"
HEALER = "healer"
"""A worker that never leaves a node half done."""
KEEPER = "keeper"
"""Who claims what is left of halted runs, and never has a lease."""


@dataclass
class Figures:
    """What a search has seen, so that a test can tell that it saw what it is for."""

    examples: int = 0
    steps: int = 0
    words: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)


class Pair(RuleBasedStateMachine):
    """Runs in the store, and their models."""

    def __init__(self, link: Link, namespace: str, figures: Figures) -> None:
        super().__init__()
        figures.examples += 1
        self._figures = figures
        self._now = 1000.0
        self._lab = Lab(link, f"{namespace}-{figures.examples}", self._now)
        self._runs: dict[str, Run] = {}
        self._bodies: set[tuple[int, str]] = set()
        self._leases: dict[str, float] = {}
        self._ids = count(1)

    @property
    def _living(self) -> set[str]:
        return {holder for holder, until in self._leases.items() if until > self._now}

    def _miss_flow(self, run_id: str, plan: Plan, enter: Callable[[], Answer]) -> None:
        """A run whose flow the partition does not have yet does not come in; from now on it has it."""
        partition = self._lab.keys.partitions.index(self._lab.keys.partition_of(run_id))
        if (partition, plan.hash) not in self._bodies:
            self._same(enter(), Answer("flow_missing"))
        self._bodies.add((partition, plan.hash))

    def _look_after(self, run_id: str, node: int) -> None:
        """The keeper publishes again, and a worker gets the message."""
        run = self._runs[run_id]
        again = self._redrive(run_id, node)
        if again.word != "redrive":
            return
        answer = self._claim(run_id, node, again.numbers[1], HEALER)
        if answer.word == "claimed":
            state = "cancelled" if answer.text else "succeeded"
            self._end(run_id, node, answer.numbers[1], state, dies=False)
        elif run.model.nodes[node].ended:
            self._tell_again(run_id, node)

    def _claim(self, run_id: str, node: int, token: int, holder: str) -> Answer:
        model = self._runs[run_id].model
        answer = self._lab.claim(run_id, node, token, holder, model.shape.sees(node))
        return self._same(answer, model.claim(node, token, holder, self._living))

    def _work_on(self, run_id: str, state: str, undo_state: str, dies: bool) -> None:
        """The healer takes up a node that is ready; it ends as ``state``, or as ``undo_state`` where it is an undo."""
        model = self._runs[run_id].model
        if model.is_held:
            return
        ready = [at for at, node in model.nodes.items() if node.state == "ready"][-1:]
        for node in ready:
            answer = self._claim(run_id, node, model.nodes[node].token, HEALER)
            end = undo_state if model.shape.is_undo(node) else state
            self._end(run_id, node, answer.numbers[1], "cancelled" if answer.text else end, dies)

    def _wake(self, run_id: str, node: int) -> None:
        run = self._runs[run_id]
        self._same(self._lab.wake(run.plan, run_id, node), run.model.wake(node))

    def _end_halted(self, run_id: str) -> None:
        """End what can start of a halted run, as its keeper does; where it goes on no more, it is forgotten."""
        model = self._runs[run_id].model
        if not model.is_halted:
            self._forget_timer(run_id, RUN_HALTED)
            return
        for node in sorted(self._lab.retrying(run_id)):
            self._wake(run_id, node)
        for node in [at for at in sorted(model.nodes) if model.nodes[at].state == "ready"]:
            answer = self._claim(run_id, node, model.nodes[node].token, KEEPER)
            self._end(run_id, node, answer.numbers[1], "cancelled", dies=False)

    def _ring_deadline(self, run_id: str) -> None:
        """End a run whose deadline is over."""
        self._same(self._lab.halt(run_id, "failed"), self._runs[run_id].model.halt_with("failed"))
        self._forget_timer(run_id, RUN_DEADLINE)

    def _forget_timer(self, run_id: str, node: int) -> None:
        self._lab.forget_timer(run_id, node)
        self._runs[run_id].model.timers.pop(node, None)

    def _redrive(self, run_id: str, node: int) -> Answer:
        run = self._runs[run_id]
        return self._same(self._lab.redrive(run.plan, run_id, node), run.model.redrive(node, self._living))

    def _end(self, run_id: str, node: int, token: int, state: str, dies: bool, halt: str = "") -> None:
        run, key = self._runs[run_id], NodeKey(run_id, node)
        holder, shape = holder_of(run.model, node), run.model.shape
        if shape.is_undo(node) and state == "skipped":
            state = "failed"
        fails_fast = state == "failed" and run.fail_fast and not shape.is_undo(node) and not shape.is_handled(node)
        halt = halt or ("failed" if fails_fast else "")
        if dies:
            answer = self._lab.settle(run.plan, key, token, state, halt, holder, run.compensates)
            self._same(answer, run.model.settle(node, token, state, halt, holder, run.compensates))
        else:
            self._settle_and_tell(run, key, token, state, halt)

    def _settle_and_tell(self, run: Run, key: NodeKey, token: int, state: str, halt: str) -> None:
        node, holder = key.node, holder_of(run.model, key.node)
        expected = run.model.settle(node, token, state, halt, holder, run.compensates)
        advance = self._lab.settle_and_tell(run.plan, key, token, state, halt, holder)
        self._figures.words[expected.word] += 1
        assert advance.word == expected.word
        if expected.word in ("settled", "again"):
            ready = run.model.tell_on(node, 1, expected)
            assert [each.node for each in advance.ready] == ready
            assert advance.run_status == run.model.status

    def _stranger_speaks(self, run_id: str, node: int) -> None:
        """Somebody who was not given a node speaks of it, with its very token: as after a failover that lost writes."""
        run, key = self._runs[run_id], NodeKey(run_id, node)
        lab, model, token = self._lab, run.model, token_of(run.model, node)
        self._same(lab.beat(run_id, node, token, b"c", STRANGER), model.beat(node, token, b"c", STRANGER))
        self._same(
            lab.settle(run.plan, key, token, "failed", "", STRANGER), model.settle(node, token, "failed", "", STRANGER)
        )
        self._same(lab.retry(run.plan, key, token, 1.0, STRANGER), model.retry(node, token, 1.0, STRANGER))
        self._same(lab.release(run.plan, key, token, True, STRANGER), model.release(node, token, True, STRANGER))

    def _tell_again(self, run_id: str, node: int) -> None:
        run = self._runs[run_id]
        advance = self._lab.tell_again(run.plan, run_id, node)
        assert [each.node for each in advance.ready] == run.model.tell_on(node, 0)

    def _same(self, answer: Answer, expected: Answer) -> Answer:
        self._figures.words[expected.word] += 1
        assert answer == expected
        return answer

    def _pick_run(self, pick: int) -> tuple[str, Run]:
        runs = list(self._runs.items())
        return runs[pick % len(runs)]
