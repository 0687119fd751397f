"""The rules of a flow's nodes, as the scripts read them (``prelude_rules.lua``)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from taskmesh.model.depends import AND, DONE, NOT, OR, Term
from taskmesh.model.fates import depends_of, takes_failure, thresholds_of
from taskmesh.model.graph import Graph
from taskmesh.model.hooks import BEGINS_AFTER
from taskmesh.model.triggers import Group
from taskmesh.wire import pack

_WORDS = {str(word): number for number, word in enumerate((*Group, DONE), 1)}
_OPERATORS = {AND: -1, OR: -2, NOT: -3}


class Rules:
    """What makes nodes of one flow special. Places that are no nodes, such as those of undos, never are."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes = graph.flow.nodes

    def packed(self, places: Sequence[int]) -> bytes:
        """Those of the places that are special, by place; empty where none is."""
        if not self._any:
            return b""
        found = {place: self._rule(place) for place in places if 0 <= place < len(self._nodes)}
        special = {place: rule for place, rule in found.items() if any(rule)}
        return pack(special) if special else b""

    def handles(self, place: int) -> bool:
        """Whether some dependent can go on after the node at this place has failed, or it is a hook, which observes."""
        if not self._any or not 0 <= place < len(self._nodes):
            return False
        if self._nodes[place].hook:
            return True
        name = self._graph.names[place]
        return any(takes_failure(self._nodes[each], name) for each in self._graph.successors[place])

    @cached_property
    def _any(self) -> bool:
        return any(not node.trigger.is_plain for node in self._graph.flow.kinds)

    def _rule(self, place: int) -> list[Any]:
        node, handled = self._nodes[place], int(self.handles(place))
        if node.hook:
            return [handled, False, False, False, BEGINS_AFTER[node.hook]]
        if node.trigger.is_plain:
            return [handled, False, False]
        if not node.trigger.depends:
            return [handled, thresholds_of(node), False]
        depends, index = depends_of(node.trigger.depends), self._graph.index
        program = [part for step in depends.program for part in self._step(step)]
        return [handled, False, program, [index[name] for name in sorted(depends.asks_success)]]

    def _step(self, step: Term | str) -> tuple[int, int]:
        if isinstance(step, Term):
            return self._graph.index[step.node], _WORDS[step.word]
        return _OPERATORS[step], 0
