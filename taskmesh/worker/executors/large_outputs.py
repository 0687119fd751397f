"""What an executor does with large outputs: it puts them aside, and gets them back for the tasks that are given them.

Here and not in the I/O process, whose loop nothing may hold up. What is written is written before the end of its node
is told to anybody; should this process die in between, it is removed with the run.
"""

from __future__ import annotations

from typing import Any

from taskmesh.dispatch.deferring import resolved
from taskmesh.errors import PayloadError, TooLargeError
from taskmesh.payload.payloads import Payloads


class LargeOutputs:
    """Safe in threads; every call but ``takes`` may block. Without ``payloads`` nothing is put aside."""

    def __init__(self, payloads: Payloads | None = None, threshold_bytes: int = 0) -> None:
        self._payloads = payloads
        self._threshold_bytes = threshold_bytes if payloads is not None else 0

    def takes(self, output: bytes) -> bool:
        """Whether a packed output is to be put aside."""
        return 0 < self._threshold_bytes <= len(output)

    def put(self, task: str, run_id: str, output: bytes) -> bytes:
        """Put an output aside; returns what is stored in its place.

        :raises TooLargeError: it is too large even for that. :raises PayloadUnavailableError: that was not possible.
        """
        assert self._payloads is not None
        if len(output) > self._payloads.max_bytes:
            raise TooLargeError(
                f"task {task!r} returned {len(output)} bytes; payload.max_bytes allows {self._payloads.max_bytes}"
            )
        return self._payloads.put(run_id, output)

    def arguments(self, run_id: str, packed: bytes) -> dict[str, Any]:
        """The arguments of a task that are made of outputs which were put aside; errors as of ``resolved``."""
        return resolved(packed, lambda output: self._value(run_id, output))

    def _value(self, run_id: str, output: bytes) -> Any:
        if self._payloads is None:
            raise PayloadError("it was put aside, and the settings of this worker do not say where (payload.url)")
        return self._payloads.value(run_id, output)
