"""How the end of a node is told to its dependents, as part of the reference model."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from taskmesh.model.fates import decide, thresholds_of
from taskmesh.model.hooks import fate_after
from taskmesh.model.states import NodeState
from taskmesh.model.triggers import Heard
from tests.model import undoing
from tests.model.answers import Answer
from tests.model.parts import Parts
from tests.model.records import NodeModel
from tests.model.shape import BEFORE_HOOKS, BEFORE_UNDOS, ROOT, TO_PARENT
from tests.model.steering import INHERITED

GROUPS = {
    **{"succeeded": "succeeded", "failed": "failed", "upstream_failed": "failed"},
    **{"skipped": "skipped", "cancelled": "skipped"},
}
"""How rules tell the ends of nodes apart."""


class Telling(Parts):
    """Nodes become ready when the last node that they need has told them of its success."""

    kept_end: tuple[str, int | None, bytes] | None
    failed_node: int | None
    reopened: bool

    def has_told_all(self, node: int) -> bool:
        if node == TO_PARENT:
            return self.has_told_parent()
        return self.nodes[node].ended and self.nodes[node].told == len(self.shape.children[node])

    def arrived(self, node: int) -> int:
        """How many of the nodes that it needs have told it of their success; from its own records, unless reset."""
        if self.shape.is_undo(node):
            return undoing.arrived(self, node)
        if self.altered and self.is_counted(node):
            return self.counts.get(node, 0)
        return sum(self._has_told(parent, node, "succeeded") for parent in self.shape.parents[node])

    def _has_told(self, parent: int, child: int, group: str) -> bool:
        record = self.nodes.get(parent)
        return (
            record is not None
            and GROUPS.get(record.state) == group
            and self.shape.children[parent].index(child) < record.told
        )

    def spread(self, node: int, start: int) -> Answer:
        if node == TO_PARENT:
            return self.spread_to_parent()
        record = self.nodes.get(node)
        if record is None:
            return Answer("unknown")
        if self.terminated or not record.ended:
            return Answer("stale")
        if self.has_told_all(node) or record.told > start:
            return self.told_before("again", node, start, names_hooks=node != BEFORE_HOOKS)
        if record.told < start:
            return Answer("behind")
        return self._tell_and_close("spread", node, start)

    def tell_first(self, word: str, node: int) -> Answer:
        """Tell the first slice of a node that has just ended."""
        if not self.remaining:
            self.reopened = False
        return self._tell_and_close(word, node, 0, has_ended=True)

    def _tell_and_close(self, word: str, node: int, start: int, has_ended: bool = False) -> Answer:
        before = self.remaining
        ready, ended = self.tell(node, start)
        if before and not self.remaining:
            self.reopened = False
        if (has_ended or before > self.remaining) and self.begin_hooks():
            ended = [*ended, BEFORE_HOOKS]
        if self.reach_parent():
            ended = [*ended, TO_PARENT]
        return self._report(word, ready, ended)

    def begin_hooks(self) -> bool:
        """The hooks of the flow are next, once nothing else is left; False before that, and when they were told."""
        hooks = len(self.shape.flow_hooks)
        is_due = 0 < hooks >= self.remaining and BEFORE_HOOKS not in self.nodes
        if is_due:
            self.nodes[BEFORE_HOOKS] = NodeModel("succeeded")
        return is_due

    def tell_on(self, node: int, skip: int, first: Answer | None = None) -> list[int]:
        """Tell all other dependents, and those of nodes that this skips; which became ready."""
        ready = list(first.ready) if first else []
        steps = deque((node, start) for start in self.shape.slices(node)[skip:])
        answer = first
        while True:
            for skipped in answer.skipped if answer else ():
                steps.extend((skipped, start) for start in self.shape.slices(skipped))
            if not steps:
                return ready
            answer = self.spread(*steps.popleft())
            ready.extend(answer.ready)

    def tell(self, node: int, start: int) -> tuple[list[int], list[int]]:
        """Tell one slice of dependents; those that became ready, and those that ended thereby and have dependents."""
        ready, ended = self._tell_undos(node, start) if self.shape.is_undo(node) else self._tell_nodes(node, start)
        if not self.remaining and self._must_compensate():
            self.begin_undos()
            ended = [*ended, BEFORE_UNDOS]
        return ready, ended

    def _must_compensate(self) -> bool:
        return self.compensation == 0 and self.undos == "some" and bool(self.halt or self.failed_node is not None)

    def has_heard_all(self, undo: int) -> bool:
        return undoing.heard(self, undo) == len(self.shape.before(undo))

    def undoes(self, node: int) -> bool:
        """Whether a node has done something that is to be undone."""
        done = self.nodes.get(node)
        return done is not None and done.state == "succeeded" and done.cause != INHERITED

    def _tell_undos(self, node: int, start: int) -> tuple[list[int], list[int]]:
        return undoing.tell(self, node, start)

    def _tell_nodes(self, node: int, start: int) -> tuple[list[int], list[int]]:
        told = self.shape.children[node][start : start + self.shape.slice_size]
        self.nodes[node] = self.nodes[node]._replace(told=start + len(told))
        ends = {at: str(record.state) for at, record in self.nodes.items()}
        decided = [(child, self._fate(child, node, ends)) for child in told]
        ready = [child for child, fate in decided if fate == "ready" and self.waits(child)]
        self.nodes.update({child: self.fresh(child, "ready") for child in ready})
        new = [(child, fate) for child, fate in decided if fate not in (None, "ready") and self.waits(child)]
        for child, fate in new:
            self.nodes[child] = self.fresh(child, str(fate))._replace(cause=f"needs:{node}")
            if fate == "upstream_failed" and self.failed_node is None and not self.shape.is_handled(child):
                self.failed_node = child
        return ready, [child for child, _ in new if self.shape.children[child]]

    def _fate(self, child: int, teller: int, ends: Mapping[int, str]) -> str | None:
        """What becomes of a node that ``teller`` has just told; ``ends`` are the states before anything did."""
        hook = self.shape.trigger(child).hook
        if hook:
            return str(fate_after(hook, NodeState(self._observed(teller))))
        group = GROUPS[self.nodes[teller].state]
        if self.altered:
            self._recount(child, group)
        if self.shape.trigger(child).depends:
            known = {f"n{at}": NodeState(ends[at]) for at in self.shape.parents[child] if at in ends}
            return decide(self.shape.node(child), known)
        if self.shape.counts(child):
            return thresholds_of(self.shape.node(child)).decide(self.heard(child))
        if group == "succeeded":
            return "ready" if self.arrived(child) >= len(self.shape.parents[child]) or teller == ROOT else None
        return "upstream_failed" if group == "failed" else "skipped"

    def _observed(self, teller: int) -> str:
        """What a hook hears of."""
        if teller != BEFORE_HOOKS:
            return self.nodes[teller].state
        error = b"" if self.failed_node is None else self.nodes[self.failed_node].error
        self.kept_end = self.cause, self.failed_node, error
        return self.cause

    def _recount(self, child: int, group: str) -> None:
        if group == "succeeded" and self.is_counted(child):
            self.counts[child] = self.counts.get(child, 0) + 1
        if group != "succeeded" and self.shape.counts(child):
            self.missed[group, child] = self.missed.get((group, child), 0) + 1

    def is_counted(self, node: int) -> bool:
        """Whether those that have arrived are counted."""
        if self.shape.trigger(node).depends or self.shape.trigger(node).hook:
            return False
        return len(self.shape.before(node)) > 1 or (not self.shape.is_undo(node) and self.shape.counts(node))

    def heard(self, node: int) -> Heard:
        """How many of those that it needs have told a node of their ends, and of which."""
        return Heard(self.arrived(node), self.missing("failed", node), self.missing("skipped", node))

    def missing(self, group: str, node: int) -> int:
        """How many of those that a node needs have told it of an end that is no success."""
        if self.altered:
            return self.missed.get((group, node), 0)
        return sum(self._has_told(parent, node, group) for parent in self.shape.parents[node])

    def waits(self, node: int) -> bool:
        return node not in self.nodes or self.nodes[node].state == "waiting"

    def fresh(self, node: int, state: str) -> NodeModel:
        past = self.nodes.get(node)
        self.enter_outbox(node)
        if past is None:
            return NodeModel(state)
        return NodeModel(state, past.attempt, past.token + 1, past=past.attempt, error=past.error)

    def _report(self, word: str, ready: Iterable[int], skipped: Iterable[int]) -> Answer:
        return Answer(word, text=self.status, ready=tuple(ready), skipped=tuple(skipped))

    def told_before(self, word: str, node: int, start: int, names_hooks: bool = True) -> Answer:
        told = self.shape.children.get(node, ())[start : start + self.shape.slice_size]
        record = self.nodes[node]
        told = told if record.let_begin is None else (record.let_begin,)
        places = [*told, BEFORE_UNDOS] if self.status == "compensating" else told
        places = [*places, TO_PARENT] if self.has_ended else places
        untold = [at for at in places if at in self.nodes and self.nodes[at].ended and not self.has_told_all(at)]
        hooks = [BEFORE_HOOKS] if BEFORE_HOOKS in self.nodes and names_hooks else []
        return self._report(word, self.in_state("ready", told), [*untold, *hooks])

    def in_state(self, state: str, nodes: Iterable[int]) -> tuple[int, ...]:
        return tuple(at for at in nodes if at in self.nodes and self.nodes[at].state == state)
