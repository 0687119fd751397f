"""I7: of a run that is undone exactly what it had committed is undone, dependents first, and each once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from taskmesh.dispatch.plan import UNDO_PREFIX, Plan
from taskmesh.model.states import NodeState, RunState
from taskmesh.store.records import INHERITED, RunRecord
from taskmesh.store.remembered import LostAttempt
from taskmesh.wire import unpack
from tests.nemesis.effects import BEGIN, END, Effect


class UndoAudit:
    """Looks at one run. ``effects`` are those of its undos, ``may_fail`` the tasks whose undos may fail for good."""

    def __init__(self, record: RunRecord, plan: Plan, effects: Sequence[Effect], may_fail: frozenset[str]) -> None:
        self._record = record
        self._plan = plan
        self._effects = effects
        self._may_fail = may_fail
        self.committed = frozenset(
            at for at, node in enumerate(plan.flow.nodes) if node.compensation and self._is_done(at)
        )
        self.undone = frozenset(
            node for node in range(len(plan.flow.nodes)) if self._undo_state(node) is NodeState.SUCCEEDED
        )

    def violations(self) -> Iterator[str]:
        yield from self._exact()
        yield from self._ordered()
        yield from self._recorded_once()

    def _exact(self) -> Iterator[str]:
        """Undone == committed where the run says so, and nothing where it does not."""
        run_id, status = self._record.summary.run_id, self._record.summary.status
        begun = {self._node_of(effect) for effect in self._effects}
        wanted = self.committed if status.compensates else frozenset()
        if surplus := (begun | self.undone) - wanted:
            yield f"I7 surplus: run {run_id} is {status}, and undos ran of {self._names(surplus)}"
        if status is RunState.FAILED and self._plan.compensates and self.committed:
            yield f"I7 forgotten: run {run_id} has failed, and nothing undoes {self._names(self.committed)}"
        left = wanted - self.undone
        if status is RunState.COMPENSATED and left:
            yield f"I7 exact: run {run_id} is {status} without having undone {self._names(left)}"
        if status is RunState.COMPENSATION_FAILED and not self._is_excused(left):
            yield f"I7 failed: run {run_id} is {status}; left are {self._names(left)}, which could be undone"

    def _is_excused(self, left: frozenset[int]) -> bool:
        """Whether each undo that is left may fail and has, or waits behind one that has."""
        failed = {node for node in left if self._undo_state(node) is NodeState.FAILED}
        if not failed or any(self._plan.node(self._plan.undo_of(node)).task not in self._may_fail for node in failed):
            return False
        return all(node in failed or self._dependents(node) & failed for node in left)

    def _ordered(self) -> Iterator[str]:
        """No undo begins before the recorded one of everything that depended on its node is over."""
        over = {node: self._over(node) for node in self.committed}
        for effect in self._effects:
            node = self._node_of(effect)
            late = {child for child in self._dependents(node) & self.committed if over[child] > effect.at}
            if effect.event == BEGIN and late:
                yield (
                    f"I7 order: in run {self._record.summary.run_id} the undo of {self._names({node})} began before "
                    f"those of {self._names(late)} were over"
                )

    def _over(self, node: int) -> float:
        """When the execution ended whose end is the recorded one of a node's undo."""
        output = self._record.outputs.get(self._plan.undo_of(node))
        word = None if output is None else unpack(output)
        ends = [effect.at for effect in self._effects if effect.event == END and effect.word == word]
        return min(ends, default=math.inf)

    def _recorded_once(self) -> Iterator[str]:
        """An undo that was recorded is never begun again, also when undoing as a whole is."""
        for entry in self._record.history:
            if isinstance(entry, LostAttempt) and self._plan.is_undo(entry.node) and entry.was == NodeState.SUCCEEDED:
                yield f"I7 once: {self._record.summary.run_id}/{self._plan.name_of(entry.node)} was recorded, and reset"

    def _is_done(self, node: int) -> bool:
        """Whether the run itself has committed a node, and not one that it was forked from."""
        record = self._record.nodes.get(node)
        return record is not None and record.state is NodeState.SUCCEEDED and record.cause != INHERITED

    def _undo_state(self, node: int) -> NodeState | None:
        record = self._record.nodes.get(self._plan.undo_of(node))
        return record.state if record else None

    def _dependents(self, node: int) -> set[int]:
        """All that depended on a node, directly or not."""
        found, rest = set[int](), list(self._plan.graph.successors[node])
        while rest:
            child = rest.pop()
            if child not in found:
                found.add(child)
                rest += self._plan.graph.successors[child]
        return found

    def _node_of(self, effect: Effect) -> int:
        return self._plan.graph.index[effect.node.removeprefix(UNDO_PREFIX)]

    def _names(self, nodes: frozenset[int] | set[int]) -> str:
        return ", ".join(sorted(self._plan.graph.names[node] for node in nodes))
