"""What an executor does with large values: it puts outputs aside, and gets them back for the tasks that are given them.

Here and not in the I/O process, whose loop nothing may hold up. What is written is written before the end of its node
is told to anybody; should this process die in between, it is removed with the run.
"""

from __future__ import annotations

from typing import Any

from taskmesh.dispatch.deferring import resolved
from taskmesh.payload.large_values import LargeValues


class LargeOutputs(LargeValues):
    """Those of the tasks of one executor. Safe in threads; every call but ``takes`` may block."""

    def arguments(self, run_id: str, packed: bytes) -> dict[str, Any]:
        """The arguments of a task that are made of values which were put aside; errors as of ``resolved``."""
        return resolved(packed, lambda stored: self.value(run_id, stored))
