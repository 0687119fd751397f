"""What is decided of a node before it runs: its condition, the switch that leads to it, and which way a switch goes.

These read fields of the run, as arguments do, and take microseconds; the I/O process does it, and no executor. Where
they read what was put aside, it does so beside its loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from taskmesh.model.condition_text import ConditionError
from taskmesh.model.conditions import RUN, Condition, Used, read_condition
from taskmesh.model.flow import Node, Switch
from taskmesh.model.graph import Graph
from taskmesh.model.run_context import RUN_VALUES, read_of_run
from taskmesh.model.states import NodeState
from taskmesh.store.records import node_record
from taskmesh.wire import unpack
from taskmesh.wire.claim_checks import pack_check, read_params
from taskmesh.wire.codec import PutAsideError
from taskmesh.wire.run_contexts import decode_context

CONDITION = "when"
"""As the cause of a skipped node: its condition was false."""

BRANCH = "branch"
"""As the cause of a skipped node: the switch that leads to it went another way."""


class Passage(NamedTuple):
    """What a gate says: skip the node for a cause, or end it with the name of a case, or let it run."""

    skip: str = ""
    case: str | None = None


RUN_IT = Passage()

ValueOf: TypeAlias = "Callable[[bytes], Any]"
"""Gives the value of something stored."""


class Facts(NamedTuple):
    """What is stored of a run, as far as conditions may read it: packed parameters, outputs and context, and states.

    ``seen`` is what was kept for nodes when they were taken up first, where what their conditions read may change.
    """

    params: bytes | None
    outputs: Mapping[int, bytes | None]
    states: Mapping[int, NodeState]
    context: bytes | None = None
    seen: Mapping[int, bytes] = {}

    def of_first_claim(self, position: int) -> Facts:
        """As they were when the node was taken up first; as they are where nothing was kept for it."""
        if position not in self.seen:
            return self
        flat = unpack(self.seen[position])
        then = {at: NodeState(state) for at, state in zip(flat[::2], flat[1::2], strict=True)}
        # What had not succeeded by then had no output, and what had keeps it.
        outputs = {at: each for at, each in self.outputs.items() if then.get(at, _HAS_OUTPUT) is _HAS_OUTPUT}
        return self._replace(states={**self.states, **then}, outputs=outputs)


_HAS_OUTPUT = NodeState.SUCCEEDED


class Evaluated(NamedTuple):
    """A condition as it stands with what is stored: what it reads, and whether it holds; None where that fails."""

    condition: str
    holds: bool | None
    values: str

    def __str__(self) -> str:
        word = {True: "is true", False: "is false", None: "cannot be evaluated"}[self.holds]
        return f"{self.condition!r} {word}" + (f" ({self.values})" if self.values else "")


class NoCaseError(Exception):
    """No case of a switch holds, and it has no else."""


@lru_cache(maxsize=4096)
def condition_of(text: str) -> Condition:
    """The condition of a checked node."""
    return read_condition(text)


class Gate:
    """What must be known of a run, so that one of its nodes may run; ``fields`` are fields of the run's hash.

    It is decided by what the node's first claim saw, however often the node is claimed. Where its conditions read nodes
    that may not have ended by then, ``kept`` are those of the fields by which that claim keeps how these stand.
    """

    def __init__(self, graph: Graph, position: int) -> None:
        self._graph = graph
        self._position = position
        self._node = graph.kind(position)
        self._switch = graph.switch_to(position)
        self._uses = tuple(dict.fromkeys(_uses(self._node)))
        read = dict.fromkeys(graph.index[each.name] for each in self._uses if each.kind in _OF_NODES)
        is_kept = bool(read) and self._node.trigger.begins_early
        self.kept = (f"seen:{position}", *(f"node:{each}" for each in read)) if is_kept else ()
        sources = dict.fromkeys((*self.kept, *(self._field(each) for each in self._uses)))
        self.fields = (*sources, *((f"output:{self._switch}",) if self._switch is not None else ()))

    @classmethod
    def of(cls, graph: Graph, position: int) -> Gate | None:
        """The gate of a node; None where nothing has to be decided."""
        node = graph.kind(position)
        has_gate = node.when or node.switch or graph.switch_to(position) is not None
        return cls(graph, position) if has_gate else None

    def decide(self, values: Sequence[bytes | None], value_of: ValueOf = unpack) -> Passage:
        """What becomes of the node, from the values of ``fields`` in their order.

        ``value_of`` gives the value of something stored, and may fetch it.

        :raises ConditionError: a condition is neither true nor false. :raises NoCaseError: a switch has no way out.
        :raises PutAsideError: a condition reads what was put aside, and ``value_of`` does not fetch it.
        """
        stored = dict(zip(self.fields, values, strict=True))
        if self._switch is not None and not self._is_taken(stored[f"output:{self._switch}"]):
            return Passage(skip=BRANCH)
        seen = self.seen(facts_in(stored), value_of)
        if self._node.when and not condition_of(self._node.when).evaluate(_part(seen, self._node.when)):
            return Passage(skip=CONDITION)
        return Passage(case=_case(self._node.switch, seen)) if self._node.switch else RUN_IT

    def seen(self, facts: Facts, value_of: ValueOf = unpack) -> dict[Used, Any]:
        """What the conditions of the node read, as far as it is there.

        :raises PutAsideError: as of ``decide``.
        """
        facts = facts.of_first_claim(self._position)
        params = read_params(facts.params)
        found: dict[Used, Any] = {}
        for each in self._uses:
            if each.kind == "params" and each.name in params.aside:
                found[each] = value_of(pack_check(params.aside[each.name]))
            elif each.kind == "params":
                found |= {each: params.here[each.name]} if each.name in params.here else {}
            elif each.kind == RUN:
                found[each] = _of_run(facts.context, each.name)
            elif each.kind == "state":
                found[each] = str(facts.states.get(self._graph.index[each.name], NodeState.WAITING))
            else:
                output = facts.outputs.get(self._graph.index[each.name])
                found[each] = value_of(output) if output is not None else None
        return found

    def _is_taken(self, output: bytes | None) -> bool:
        assert self._switch is not None
        switch = self._graph.flow.nodes[self._switch].switch
        name = unpack(output) if output is not None else None
        return switch is not None and isinstance(name, str) and self._node.name in switch.taken(name)

    def _field(self, used: Used) -> str:
        if used.kind in _WHOLE:
            return _WHOLE[used.kind]
        return f"{'output' if used.kind == 'output' else 'node'}:{self._graph.index[used.name]}"


_OF_NODES = ("state", "output")
"""The kinds of what is read of other nodes."""

_WHOLE = {"params": "params", RUN: "context"}
"""By the kind of what is read, the field of the run that holds all of that."""


def _of_run(context: bytes | None, name: str) -> Any:
    """What is said of the run; null where nobody has said it."""
    return read_of_run({RUN_VALUES: decode_context(context).values()}, name.split("."))


def evaluated(graph: Graph, position: int, facts: Facts) -> tuple[Evaluated, ...]:
    """The conditions of a node as they stand; of the cases of a switch those up to the first that holds."""
    node, gate = graph.kind(position), Gate.of(graph, position)
    found: list[Evaluated] = []
    try:
        seen = gate.seen(facts) if gate else {}
    except PutAsideError:
        return (Evaluated(node.conditions[0], None, "it reads what was put aside, which is not fetched to show it"),)
    for text in node.conditions:
        condition, part = condition_of(text), _part(seen, text)
        found.append(Evaluated(text, _holds(condition, part), condition.shown(part)))
        if text != node.when and found[-1].holds:
            break
    return tuple(found)


def _holds(condition: Condition, values: Mapping[Used, Any]) -> bool | None:
    try:
        return condition.evaluate(values)
    except ConditionError:
        return None


def _uses(node: Node) -> Iterator[Used]:
    for text in node.conditions:
        yield from condition_of(text).uses


def _case(switch: Switch, seen: Mapping[Used, Any]) -> str:
    for case in switch.cases:
        if not case.when or condition_of(case.when).evaluate(_part(seen, case.when)):
            return case.name
    shown = "; ".join(f"{case.when!r} is false ({condition_of(case.when).shown(seen)})" for case in switch.cases)
    raise NoCaseError(f"no case of the switch holds, and it has no else: {shown}")


def _part(seen: Mapping[Used, Any], text: str) -> dict[Used, Any]:
    return {each: seen[each] for each in condition_of(text).uses if each in seen}


def facts_in(stored: Mapping[str, bytes | None]) -> Facts:
    """What conditions may read of these fields of a run."""
    outputs = {int(name[7:]): value for name, value in stored.items() if name.startswith("output:")}
    records, seen = _there(stored, "node:"), _there(stored, "seen:")
    states = {at: node_record(value).state for at, value in records.items()}
    return Facts(stored.get("params"), outputs, states, stored.get("context"), seen)


def _there(stored: Mapping[str, bytes | None], prefix: str) -> dict[int, bytes]:
    named = {name: value for name, value in stored.items() if name.startswith(prefix)}
    return {int(name.removeprefix(prefix)): value for name, value in named.items() if value is not None}
