"""What a node's task is called with: which fields of the run it needs, and the arguments made of them.

A node that is behind a gate needs the fields of that, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from taskmesh.dispatch.deferring import defer, defer_undo
from taskmesh.dispatch.gates import Gate
from taskmesh.model.events.waits import EventWait
from taskmesh.model.flow import ALL_PARAMS, UNDO_RESULT, Node
from taskmesh.model.graph import Graph
from taskmesh.model.run_context import NO_CONTEXT
from taskmesh.model.waiting import hears
from taskmesh.store.signals import heard_field, signal_fields
from taskmesh.wire import pack, unpack
from taskmesh.wire.codec import PutAsideError
from taskmesh.wire.run_contexts import decode_context

CONTEXT = "context"
"""The field of a run that holds its context."""


class Inputs(Protocol):
    """The inputs of a node: ``fields`` are fields of the run's hash, first those of its gate where it has one.

    A node that waits for a signal needs the fields of that, too: the last ones; for an event, before those the one of
    what it has heard before.
    """

    @property
    def fields(self) -> tuple[str, ...]: ...

    @property
    def gate(self) -> Gate | None: ...

    def arguments(self, values: Sequence[bytes | None]) -> bytes:
        """The packed arguments, from the values of ``fields`` in their order, without those of the gate.

        Where a value in them was put aside they are still to be resolved (``dispatch.deferring``).

        :raises UnresolvedReferenceError: an output does not have what a reference names.
        """


def kept_fields(inputs: Inputs) -> tuple[str, ...]:
    """Those of the fields that a claim must bring where the others are read in pages: it keeps what they say."""
    return inputs.gate.kept if inputs.gate else ()


class NodeInputs:
    """The inputs of a node of a flow. Arguments that are constant, or all of the parameters, stay packed."""

    def __init__(self, graph: Graph, node: int) -> None:
        self._graph = graph
        self._node = node
        self._sources = graph.inputs[node]
        self._passes_params = graph.flow.nodes[node].args == ALL_PARAMS
        template = graph.arguments[node]
        self._needs_params = self._passes_params or template.takes_params or bool(template.params)
        self._reads_run = graph.arguments[node].reads_run
        of_arguments = (
            *(("params",) if self._needs_params else ()),
            *(f"output:{each}" for each in self._sources),
            *((CONTEXT,) if self._reads_run else ()),
        )
        self._constant = None if of_arguments else pack(graph.resolve_arguments(node, {}, {}))
        self.gate = Gate.of(graph, node)
        self.fields = (*self.gate.fields, *of_arguments) if self.gate else of_arguments
        self.fields += _heard_by(graph.flow.nodes[node], node)

    def arguments(self, values: Sequence[bytes | None]) -> bytes:
        if self._constant is not None:
            return self._constant
        if self._passes_params:
            return values[0] or pack({})
        offset = int(self._needs_params)
        end = offset + len(self._sources)
        context = decode_context(values[end]) if self._reads_run else NO_CONTEXT
        packed = dict(zip(self._sources, values[offset:end], strict=True))
        try:
            params = unpack(values[0]) if self._needs_params and values[0] else {}
            outputs = {source: unpack(value) if value is not None else None for source, value in packed.items()}
        except PutAsideError:
            named = {self._graph.names[source]: value for source, value in packed.items()}
            return defer(self._graph.flow.nodes[self._node].args, values[0] if offset else None, named, context)
        return pack(self._graph.resolve_arguments(self._node, params, outputs, context))


def _heard_by(node: Node, place: int) -> tuple[str, ...]:
    if hears(node) is None:
        return ()
    before = (heard_field(place),) if isinstance(node.step, EventWait) else ()
    return (*before, *signal_fields(place))


class UndoInputs:
    """The inputs of the undo of a node: what the node was called with, and its output."""

    gate = None

    def __init__(self, inputs: Inputs, node: int) -> None:
        self._inputs = inputs
        self.fields = (*inputs.fields[len(inputs.gate.fields) if inputs.gate else 0 :], f"output:{node}")

    def arguments(self, values: Sequence[bytes | None]) -> bytes:
        arguments, output = self._inputs.arguments(values[:-1]), values[-1]
        try:
            result = unpack(output) if output is not None else None
            return pack({**unpack(arguments), UNDO_RESULT: result})
        except PutAsideError:
            return defer_undo(arguments, output)
