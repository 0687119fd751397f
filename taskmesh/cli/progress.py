"""How far a run is: its nodes by level, kept up to date by events. Knows nothing of terminals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taskmesh.model.flow import Flow, Node
from taskmesh.model.graph import Graph
from taskmesh.model.hooks import Hook
from taskmesh.model.states import NodeState, RunState
from taskmesh.model.triggers import Trigger
from taskmesh.store.family import run_of_ticket, ticket_of

if TYPE_CHECKING:
    from taskmesh.client.details import RunDetails, RunEvent


@dataclass(slots=True)
class NodeProgress:
    """One node; times in epoch seconds. ``child`` is the run that it waits for, or has waited for last."""

    name: str
    group: Group
    state: NodeState = NodeState.WAITING
    started_at: float | None = None
    finished_at: float | None = None
    child: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """The nodes of one task on one level, and how many of them are in which state."""

    level: int
    task: str
    states: Counter[NodeState]

    @property
    def total(self) -> int:
        return self.states.total()

    @property
    def ended(self) -> int:
        return ended(self.states)


class Progress:
    """The nodes of one run. Begins with all of them waiting: a run's events tell of its past, too.

    One thread writes; others may read meanwhile.
    """

    def __init__(self, details: RunDetails) -> None:
        self.run_id = details.run_id
        self.title = f"{details.flow} {details.version}"
        self.submitted_at = details.submitted_at
        self.status = RunState.RUNNING
        self.finished_at: float | None = None
        self._graph = graph_of(details)
        self._missing = [len(parents) for parents in self._graph.parents]
        self.groups: dict[tuple[int, str], Group] = {}
        self.nodes: dict[str, NodeProgress] = {}
        self.undos: dict[str, NodeProgress] = {}
        self.running: dict[str, NodeProgress] = {}
        self.states = Counter({NodeState.WAITING: len(details.nodes)})
        for node, level in zip(details.nodes, levels_of(self._graph.awaited), strict=True):
            group = self.groups.setdefault((level, node.task), Group(level, node.task, Counter()))
            group.states[NodeState.WAITING] += 1
            self.nodes[node.name] = NodeProgress(node.name, group, child=node.child)
        for root in self._graph.roots:
            self._move(self.nodes[self._graph.names[root]], NodeState.READY)

    @property
    def total(self) -> int:
        return len(self.nodes)

    @property
    def ended(self) -> int:
        return ended(self.states)

    def apply(self, event: RunEvent) -> bool:
        """Take in what happened; False when it was known already."""
        if event.kind == "run":
            self._end(RunState(event.state), event.at)
        elif event.kind in ("pause", "resume"):
            self.status = RunState(event.state)
        if event.node is None:
            return True
        node, state = self.node(event.node), NodeState(event.state)
        if node.state is state or (node.state.ended and node.name in self.nodes):
            return False
        if state is NodeState.RUNNING:
            node.started_at = event.at
        elif state.ended:
            node.finished_at = event.at
        node.child = run_of_ticket(ticket_of(event.cause)) or node.child
        self._move(node, state)
        return True

    @property
    def awaiting(self) -> list[NodeProgress]:
        """The nodes that wait for child runs."""
        return [node for node in list(self.nodes.values()) if node.child and node.state is NodeState.RETRYING]

    def node(self, name: str) -> NodeProgress:
        """A node, or an undo: those are known by their events alone, and count for nothing here."""
        known = self.nodes.get(name) or self.undos.get(name)
        if known is None:
            known = self.undos[name] = NodeProgress(name, Group(0, "", Counter()))
        return known

    def _move(self, node: NodeProgress, state: NodeState) -> None:
        for states in (self.states, node.group.states) if node.name in self.nodes else ():
            states[node.state] -= 1
            states[state] += 1
        node.state = state
        if state is NodeState.RUNNING:
            self.running[node.name] = node
        else:
            self.running.pop(node.name, None)
        if state is NodeState.SUCCEEDED and node.name in self.nodes:
            self._tell_dependents(node.name)

    def _tell_dependents(self, name: str) -> None:
        """No event says that a node became ready: it is, once all that it needs has succeeded."""
        for position in self._graph.successors[self._graph.index[name]]:
            self._missing[position] -= 1
            dependent = self.nodes[self._graph.names[position]]
            if self._graph.flow.nodes[position].hook is Hook.ON_FAILURE:
                continue
            if self._missing[position] == 0 and dependent.state is NodeState.WAITING:
                self._move(dependent, NodeState.READY)

    def _end(self, status: RunState, at: float) -> None:
        self.status = status
        if status.ended:
            self.finished_at = at
        for node in self.nodes.values() if status.ended else ():
            if node.state is NodeState.WAITING:
                self._move(node, NodeState.SKIPPED)
            elif not node.state.ended:
                # The run was terminated; what its nodes do says nothing any more.
                self._move(node, NodeState.CANCELLED)


def ended(states: Counter[NodeState]) -> int:
    return sum(states[state] for state in NodeState if state.ended)


def graph_of(details: RunDetails) -> Graph:
    """The graph of a run, without what its nodes are called with."""
    nodes = tuple(
        Node(node.name, node.task, {}, node.needs, trigger=Trigger(hook=Hook(node.hook) if node.hook else None))
        for node in details.nodes
    )
    return Graph.of(Flow(details.flow, details.version, nodes))


def levels_of(parents: Sequence[Sequence[int]]) -> list[int]:
    """For each node, how many nodes the longest way to it has: 1 for a root. Nodes stand in topological order."""
    levels: list[int] = []
    for needed in parents:
        levels.append(1 + max((levels[parent] for parent in needed), default=0))
    return levels
