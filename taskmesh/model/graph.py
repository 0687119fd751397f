"""The graph of a flow: its order, its edges by position, and what each node's arguments refer to."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeAlias, TypeVar, cast

from taskmesh.errors import FlowError
from taskmesh.model.copied import Index, Names, Same
from taskmesh.model.flow import Flow, Node
from taskmesh.model.hook_references import compile_arguments
from taskmesh.model.references import Template, compile_value
from taskmesh.model.run_context import NO_CONTEXT, RUN_VALUES, RunContext
from taskmesh.model.values import Value, Values

Edges: TypeAlias = "Sequence[Sequence[int]]"

_T = TypeVar("_T")

_SHOWN_OF_CYCLE = 24


def topological_order(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The nodes, each after those that it needs; where there is a choice, the one declared first comes first.

    :raises FlowError: for a cycle, with its path.
    """
    index = {node.name: position for position, node in enumerate(nodes)}
    order = order_of([[index[name] for name in node.needs] for node in nodes])
    if len(order) < len(nodes):
        raise FlowError([cycle_sentence(find_cycle({node.name: node.needs for node in nodes}))])
    return tuple(nodes[position] for position in order)


def order_of(parents: Sequence[Sequence[int]]) -> list[int]:
    """Kahn's algorithm with a heap of positions; in a graph with cycles, the nodes that stand before any cycle."""
    successors = successors_of(parents)
    pending = [len(each) for each in parents]
    ready = [position for position, count in enumerate(pending) if count == 0]
    order: list[int] = []
    while ready:
        position = heapq.heappop(ready)
        order.append(position)
        for successor in successors[position]:
            pending[successor] -= 1
            if pending[successor] == 0:
                heapq.heappush(ready, successor)
    return order


def successors_of(parents: Sequence[Iterable[int]]) -> list[list[int]]:
    successors: list[list[int]] = [[] for _ in parents]
    for position, needed in enumerate(parents):
        for parent in needed:
            successors[parent].append(position)
    return successors


def find_cycle(needs: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """The path of a cycle, each node needing the next, as in ``("a", "b", "c", "a")``; empty where there is none.

    Names that are no key of ``needs`` are passed over.
    """
    finished: set[str] = set()
    for start in needs:
        path = {start: iter(needs[start])}
        while path and start not in finished:
            name = next(reversed(path))
            following = next((each for each in path[name] if each in needs and each not in finished), None)
            if following is None:
                finished.add(name)
                del path[name]
            elif following in path:
                names = list(path)
                return (*names[names.index(following) :], following)
            else:
                path[following] = iter(needs[following])
    return ()


def cycle_sentence(cycle: Sequence[str]) -> str:
    """Says the path; the middle of a very long one is left out."""
    names = list(cycle)
    if len(names) > _SHOWN_OF_CYCLE:
        half = _SHOWN_OF_CYCLE // 2
        names = [*names[:half], f"({len(names) - 2 * half} more)", *names[-half:]]
    return f"the nodes need each other in a circle: {' -> '.join(names)} (each needs the next)"


class Lazy(Generic[_T]):
    """Something for each node by position, computed when it is first asked for: most processes run a part of a flow."""

    def __init__(self, compute: Callable[[int], _T]) -> None:
        self._compute = compute
        self._known: dict[int, _T] = {}

    def __getitem__(self, position: int) -> _T:
        if position not in self._known:
            self._known[position] = self._compute(position)
        return self._known[position]


@dataclass(frozen=True, eq=False)
class Graph:
    """A checked flow and its edges, by position in ``flow.nodes``. What derives from it is computed when needed."""

    flow: Flow
    names: Sequence[str]
    index: Mapping[str, int]
    parents: Edges
    successors: Edges

    @classmethod
    def of(cls, flow: Flow) -> Graph:
        if flow.copies:
            none: Edges = Same((), len(flow.nodes))
            return cls(flow, Names(flow.copies), Index(flow.copies), none, none)
        names = tuple(node.name for node in flow.nodes)
        index = {name: position for position, name in enumerate(names)}
        parents = tuple(tuple([index[name] for name in node.needs]) for node in flow.nodes)
        successors = tuple(map(tuple, successors_of(parents)))
        return cls(flow, names, index, parents, successors)

    @cached_property
    def roots(self) -> Sequence[int]:
        """The nodes that need nothing, without hooks of the flow, which wait for all else; of copies the first ones."""
        if self.flow.copies:
            return self.flow.copies.first
        without = (position for position, parents in enumerate(self.parents) if not parents)
        return tuple(position for position in without if not self.flow.nodes[position].hook)

    @cached_property
    def sinks(self) -> Sequence[int]:
        """The nodes that nothing needs."""
        if self.flow.copies:
            return range(len(self.flow.nodes))
        return tuple(position for position, successors in enumerate(self.successors) if not successors)

    @cached_property
    def hooks(self) -> tuple[int, ...]:
        """The hooks of the flow itself."""
        if self.flow.copies:
            return ()
        return tuple(position for position, node in enumerate(self.flow.nodes) if node.is_flow_hook)

    @cached_property
    def awaited(self) -> Edges:
        """What each node comes after: those that it needs; a hook of the flow, all that nothing else comes after."""
        hooks = set(self.hooks)
        others = tuple(sink for sink in self.sinks if sink not in hooks)
        return tuple(others if at in hooks else parents for at, parents in enumerate(self.parents))

    @cached_property
    def _last(self) -> Sequence[int]:
        """The nodes that nothing needs but hooks."""
        observers = {position for position, node in enumerate(self.flow.nodes) if node.hook}
        if not observers:
            return self.sinks
        return tuple(at for at, after in enumerate(self.successors) if at not in observers and observers >= set(after))

    def kind(self, position: int) -> Node:
        """The node at a position; where all are copies of one, that one."""
        return self.flow.copies.node if self.flow.copies else self.flow.nodes[position]

    def switch_to(self, position: int) -> int | None:
        """The switch that leads to a node; None where none does."""
        return self._switches.get(position)

    @cached_property
    def _switches(self) -> Mapping[int, int]:
        switches = [(at, node.switch) for at, node in enumerate(self.flow.kinds) if node.switch]
        return {self.index[name]: at for at, switch in switches for name in switch.targets}

    @cached_property
    def arguments(self) -> Lazy[Template]:
        """The compiled ``args`` of each node."""
        return Lazy(lambda position: compile_arguments(self.flow.nodes[position]))

    @cached_property
    def inputs(self) -> Lazy[tuple[int, ...]]:
        """For each node, the nodes whose outputs its arguments refer to."""
        return Lazy(lambda position: self._positions(self.arguments[position]))

    @cached_property
    def result(self) -> Template:
        """What the result of the run is: as the flow says, else the output of the last node, or of each by name.

        That of copies, which have no template, is as ``resolve_result`` says.
        """
        if self.flow.copies:
            return Template(None)
        if self.flow.result is not None:
            return compile_value(self.flow.result)
        outputs = {self.names[last]: f"${{nodes.{self.names[last]}.output}}" for last in self._last}
        return compile_value(outputs if len(outputs) != 1 else next(iter(outputs.values())))

    @cached_property
    def gives_output(self) -> bool:
        """Whether the result of the run is the output of one node, and nothing else."""
        [*names] = self.result.nodes
        return len(names) == 1 and self.flow.result in (None, f"${{nodes.{names[0]}.output}}")

    @cached_property
    def result_inputs(self) -> Sequence[int]:
        """The nodes whose outputs the result refers to."""
        return self.sinks if self.flow.copies else self._positions(self.result)

    def resolve_arguments(
        self, position: int, params: Values, outputs: Mapping[int, Value], context: RunContext = NO_CONTEXT
    ) -> dict[str, Value]:
        """The arguments of a node. ``outputs`` holds at least the outputs of ``inputs[position]``. Not to be changed.

        :raises UnresolvedReferenceError: when a reference points at something that an output does not hold.
        """
        template, named = self.arguments[position], self._named(self.inputs[position], outputs)
        if template.reads_run:
            named[RUN_VALUES] = context.values()
        return cast("dict[str, Value]", template.resolve(params, named))

    def resolve_result(self, params: Values, outputs: Mapping[int, Value], context: RunContext = NO_CONTEXT) -> Value:
        """The result of the run; of copies, the outputs of all. ``outputs`` has those of ``result_inputs`` at least.

        :raises UnresolvedReferenceError: when a reference points at something that an output does not hold.
        """
        if self.flow.copies:
            return [outputs[each] for each in self.sinks]
        named = self._named(self.result_inputs, outputs)
        return self.result.resolve(params, {**named, RUN_VALUES: context.values()})

    def _named(self, positions: Sequence[int], outputs: Mapping[int, Value]) -> dict[str, Value]:
        return {self.names[each]: outputs[each] for each in positions}

    def critical_path(self, durations: Mapping[str, float]) -> tuple[str, ...]:
        """The chain of nodes that took longest in all. ``durations`` are seconds by name; a missing one counts as 0."""
        ends: list[float] = []
        before: list[int | None] = []
        for position, name in enumerate(self.names):
            latest = max(self.awaited[position], key=ends.__getitem__, default=None)
            before.append(latest)
            ends.append((0.0 if latest is None else ends[latest]) + durations.get(name, 0.0))
        last = max(range(len(ends)), key=ends.__getitem__, default=None)
        chain: list[str] = []
        while last is not None:
            chain.append(self.names[last])
            last = before[last]
        return tuple(reversed(chain))

    def _positions(self, template: Template) -> tuple[int, ...]:
        return tuple([self.index[name] for name in template.nodes])
