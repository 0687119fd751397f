"""What the task of a hook is called with: arguments that may also refer to how its node, or its run, has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskmesh.dispatch.deferring import defer_hook
from taskmesh.dispatch.inputs import CONTEXT
from taskmesh.model.flow import ALL_PARAMS
from taskmesh.model.graph import Graph
from taskmesh.model.hook_references import OF_HOOK
from taskmesh.model.run_context import NO_CONTEXT, RUN_VALUES
from taskmesh.model.states import NodeState
from taskmesh.store.records import node_record
from taskmesh.wire import pack, unpack
from taskmesh.wire.codec import PutAsideError
from taskmesh.wire.run_contexts import decode_context


class HookInputs:
    """The inputs of a hook: those of any node, and two fields with the facts of what it observes.

    Those of a run are kept with the place ``before_hooks``.
    """

    gate = None

    def __init__(self, graph: Graph, node: int, before_hooks: int) -> None:
        self._graph = graph
        self._args = graph.flow.nodes[node].args
        self._arguments = graph.arguments[node]
        self._sources = tuple(graph.names[each] for each in graph.inputs[node])
        self._observed = next(iter(graph.parents[node]), None)
        place = before_hooks if self._observed is None else self._observed
        ended = f"{'output' if self._observed is None else 'node'}:{place}"
        outputs = [f"output:{each}" for each in graph.inputs[node]]
        context = (CONTEXT,) if self._arguments.reads_run else ()
        self.fields = (ended, f"error:{place}", "params", *outputs, *context)

    def arguments(self, values: Sequence[bytes | None]) -> bytes:
        ended, error, packed_params, *rest = values
        if self._args == ALL_PARAMS:
            return packed_params or pack({})
        stored = dict(zip(self._sources, rest, strict=False))
        context = decode_context(rest[-1]) if self._arguments.reads_run else NO_CONTEXT
        facts = self._facts(ended, error)
        try:
            params = unpack(packed_params) if packed_params else {}
            outputs = {name: unpack(output) if output is not None else None for name, output in stored.items()}
        except PutAsideError:
            return defer_hook(self._args, packed_params, stored, context, facts)
        return pack(self._arguments.resolve(params, {**outputs, RUN_VALUES: context.values(), OF_HOOK: facts}))

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
