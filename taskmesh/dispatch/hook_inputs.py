"""What the task of a hook is called with: arguments that may also refer to how its node, or its run, has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskmesh.model.graph import Graph
from taskmesh.model.hook_references import OF_HOOK
from taskmesh.model.states import NodeState
from taskmesh.store.records import node_record
from taskmesh.wire import pack, unpack


class HookInputs:
    """The inputs of a hook: those of any node, and two fields with the facts of what it observes.

    Those of a run are kept with the place ``before_hooks``.
    """

    gate = None

    def __init__(self, graph: Graph, node: int, before_hooks: int) -> None:
        self._graph = graph
        self._arguments = graph.arguments[node]
        self._sources = graph.inputs[node]
        self._passes_params = isinstance(graph.flow.nodes[node].args, str)
        self._observed = next(iter(graph.parents[node]), None)
        place = before_hooks if self._observed is None else self._observed
        ended = f"{'output' if self._observed is None else 'node'}:{place}"
        self.fields = (ended, f"error:{place}", "params", *(f"output:{each}" for each in self._sources))

    def arguments(self, values: Sequence[bytes | None]) -> bytes:
        ended, error, params, *outputs = values
        if self._passes_params:
            return params or pack({})
        named: dict[str, Any] = {
            self._graph.names[source]: unpack(output) if output is not None else None
            for source, output in zip(self._sources, outputs, strict=True)
        }
        named[OF_HOOK] = self._facts(ended, error)
        return pack(self._arguments.resolve(unpack(params) if params else {}, named))

    def _facts(self, ended: bytes | None, error: bytes | None) -> dict[str, Any]:
        said = unpack(error) if error else None
        if self._observed is not None:
            state = node_record(ended).state if ended else None
            # A node that has succeeded keeps what an attempt before has said.
            why = None if state is NodeState.SUCCEEDED else said
            return {"status": state and str(state), "node": self._graph.names[self._observed], "error": why}
        status, failed = unpack(ended) if ended else (None, False)
        # Lua has no null inside of a list.
        node = None if failed is False else self._graph.names[failed]
        return {"status": status, "node": node, "error": said}
