"""What a client refuses before anything is stored."""

from __future__ import annotations

from dataclasses import dataclass

from taskmesh.client.compensation import refuse_empty
from taskmesh.dispatch.plan import Plan
from taskmesh.errors import TooLargeError
from taskmesh.model.subflows import flows_in


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """The sizes that are allowed."""

    max_value_bytes: int
    max_nodes: int

    def check(self, plan: Plan) -> None:
        """:raises TooLargeError: the flow has too many nodes. :raises UsageError: it has none."""
        for flow in flows_in(plan.flow):
            if len(flow.nodes) > self.max_nodes:
                raise TooLargeError(
                    f"flow {flow.name!r} has {len(flow.nodes)} nodes; limits.max_nodes allows {self.max_nodes}"
                )
        refuse_empty(plan)
