"""What a node type is told of the node that it executes, without a worker."""

from __future__ import annotations

from typing import Any


class OneNode:
    """The node ``ask`` of the run ``r-1``; ``error`` is what a sign of life comes to."""

    run_id, node, attempt, deadline = "r-1", "ask", 1, None
    idempotency_key = "r-1/ask"

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def heartbeat(self, details: Any = None) -> None:
        if self._error is not None:
            raise self._error
