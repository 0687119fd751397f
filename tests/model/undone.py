"""What is undone of a run that has ended, and what that ends as."""

from __future__ import annotations

from functools import lru_cache
from math import inf

from taskmesh.model.mapping import Map
from taskmesh.model.states import NodeState
from taskmesh.model.subflows import ChildStep
from tests.model.filling import calls_of
from tests.model.life import Life
from tests.model.played import FAILED, SKIPPED, SUCCEEDED, UNDOES, DisagreementError, End, tried


class Undoing:
    """What undoes the nodes of one run, by their names; and so of the children whose nodes are undone.

    With ``is_undone``, its parent has it undone, or a person, though it may have succeeded.
    """

    def __init__(self, life: Life, is_undone: bool = False) -> None:
        self._life = life
        self._nodes = {node.name: node for node in life.flow.nodes}
        self._end_of = lru_cache(maxsize=None)(self._undo)
        self._children: dict[int, Undoing] = {}
        is_wished = is_undone or (life.intends and life.end.state is not SUCCEEDED)
        can = [name for name, end in life.ends.items() if end.state is SUCCEEDED and self._nodes[name].compensation]
        self.ends = {name: self._end_of(name) for name in can} if is_wished else {}
        self._check_order()

    @property
    def is_complete(self) -> bool:
        return all(end.state is SUCCEEDED for end in self.ends.values())

    @property
    def status(self) -> str:
        """That of the run, in the end."""
        if not self.ends:
            return str(self._life.end.state)
        return "compensated" if self.is_complete else "compensation_failed"

    def of(self, child: Life) -> Undoing:
        """That of a child run of it."""
        return self._children.get(id(child)) or Undoing(child)

    def _undo(self, name: str) -> End:
        """What becomes of the undo of a node, whether or not there is anything to undo."""
        node, end = self._nodes[name], self._life.ends[name]
        behind = [self._end_of(each.name) for each in self._life.flow.nodes if name in each.needs]
        if any(each.state is not SUCCEEDED for each in behind):
            return End(SKIPPED, attempts=0)
        if end.state is not SUCCEEDED or node.compensation is None:
            return End(SUCCEEDED, attempts=0)
        args = self._life.arguments(name)
        undo = self._life.known.undo
        if isinstance(node.step, Map):
            assert node.step.body.compensation is not None
            work, body = self._life.known.work, node.step.body
            done = [each for each in calls_of(node.step, args) if tried(work, body.retry, each).state is SUCCEEDED]
            ends = [tried(undo, node.step.body.compensation.retry, each) for each in done]
            return End(SUCCEEDED if all(each.state is SUCCEEDED for each in ends) else FAILED)
        if isinstance(node.step, ChildStep):
            return End(SUCCEEDED if all(map(self._undo_child, self._life.children[name][::-1])) else FAILED)
        return tried(undo, node.compensation.retry, args)

    def _undo_child(self, child: Life) -> bool:
        self._children[id(child)] = undoing = Undoing(child, is_undone=True)
        return undoing.is_complete

    def _check_order(self) -> None:
        """Nothing is undone before all that depends on it, or while the run goes on."""
        began: dict[str, float] = {}
        ended: dict[str, float] = {}
        for name, state, at in self._life.played.moments:
            if state is NodeState.RUNNING:
                began.setdefault(name, at)
            elif state.ended:
                ended[name] = at
        for name in self.ends:
            before = [f"{UNDOES}{each}" for each in self._behind(name)] + list(self._nodes)
            begin = began.get(f"{UNDOES}{name}", inf)
            if late := [each for each in before if ended.get(each, 0.0) > begin]:
                raise DisagreementError(f"{name} began to be undone before {', '.join(late)}")

    def _behind(self, name: str) -> set[str]:
        direct = [node.name for node in self._life.flow.nodes if name in node.needs]
        return {*direct, *(far for each in direct for far in self._behind(each))}
