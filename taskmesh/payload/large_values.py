"""Large values of runs on their way aside, and back: whether they go, where to, and how much is fetched at once.

What executors fetch is bounded by ``payload.max_bytes`` for each value. What an I/O process fetches, to decide or to
hand on what no task is given, is bounded by FETCHED_BYTES for each node: it is decoded there, beside a loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taskmesh.errors import PayloadError, TooLargeError
from taskmesh.payload.payloads import Payloads
from taskmesh.wire import unpack
from taskmesh.wire.claim_checks import ClaimCheck, read_check
from taskmesh.wire.codec import MAX_DECODED_BYTES

FETCHED_BYTES = MAX_DECODED_BYTES
CONDITION_BYTES = 4 * 1024 * 1024
"""What conditions of one node may read: the library copies it before it looks, and holds the interpreter's lock
meanwhile, for 0.1 seconds for each MiB at worst."""


class LargeValues:
    """The place of a process for large values. Safe in threads; every call but ``takes`` may block.

    ``payloads`` opens it, and gives None where the settings name none. At least ``threshold_bytes`` are large; with 0
    nothing is.
    """

    def __init__(self, payloads: Callable[[], Payloads | None] = lambda: None, threshold_bytes: int = 0) -> None:
        self._payloads = payloads
        self._threshold_bytes = threshold_bytes

    def takes(self, size: int) -> bool:
        """Whether a packed value of so many bytes is to be put aside."""
        return 0 < self._threshold_bytes <= size and self._payloads() is not None

    def most(self, otherwise: int) -> int:
        """How many bytes a packed value may have; ``otherwise`` where nothing is put aside."""
        place = self._payloads() if self._threshold_bytes else None
        return otherwise if place is None else place.max_bytes

    def put(self, what: str, run_id: str, packed: bytes) -> bytes:
        """Put a value of a run aside; returns what is stored in its place. ``what`` begins the sentence of a refusal.

        :raises TooLargeError: it is too large even for that. :raises PayloadUnavailableError: that was not possible.
        """
        place = self._place(run_id)
        if len(packed) > place.max_bytes:
            raise TooLargeError(f"{what} {len(packed)} bytes; payload.max_bytes allows {place.max_bytes}")
        return place.put(run_id, packed)

    def get(self, run_id: str, check: ClaimCheck) -> bytes:
        """What a run has put aside; errors as of ``value``."""
        return self._place(run_id).get(run_id, check)

    def value(self, run_id: str, packed: bytes) -> Any:
        """The value of what is stored of a run, wherever it is.

        :raises PayloadError: it was put aside, and is not there, or is damaged, or nothing says where it is.
        :raises PayloadUnavailableError: it cannot be fetched. :raises WireError: it cannot be read.
        """
        return unpack(packed) if read_check(packed) is None else self._place(run_id).value(run_id, packed)

    def copy(self, packed: bytes, source: str, target: str) -> bytes:
        """Give a run what is stored of another one for its own; what was not put aside stays as it is.

        :raises PayloadError: it is not there. :raises PayloadUnavailableError: that was not possible.
        """
        return packed if read_check(packed) is None else self._place(source).copy(packed, source, target)

    def _place(self, run_id: str) -> Payloads:
        place = self._payloads()
        if place is None:
            raise PayloadError(
                f"a value of run {run_id!r} was put aside, and the settings of this process do not say where "
                "(payload.url)"
            )
        return place


NOWHERE = LargeValues()
"""Where nothing is put aside."""


class Fetching:
    """What one node needs fetched of its run: no more than ``left_bytes`` in all."""

    def __init__(self, large: LargeValues, run_id: str, left_bytes: int = FETCHED_BYTES) -> None:
        self._large = large
        self._run_id = run_id
        self._allowed_bytes = self._left_bytes = left_bytes

    def value(self, packed: bytes) -> Any:
        """The value of something stored, wherever it is.

        :raises TooLargeError: it is more than may be fetched. Other errors as of ``LargeValues.value``.
        """
        check = read_check(packed)
        return unpack(packed) if check is None else self.of(check)

    def of(self, check: ClaimCheck) -> Any:
        """What was put aside; errors as of ``value``."""
        return unpack(self.packed(check))

    def packed(self, check: ClaimCheck) -> bytes:
        """The same, still packed."""
        self._left_bytes -= check.size
        if self._left_bytes < 0:
            raise TooLargeError(
                f"what it reads of values that were put aside has more than {self._allowed_bytes} bytes, which only "
                "tasks are given; let a task return the little that is needed here"
            )
        return self._large.get(self._run_id, check)
