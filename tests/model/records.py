"""What the reference model keeps of a node."""

from __future__ import annotations

from typing import NamedTuple

ENDED = frozenset({"succeeded", "failed", "cancelled", "skipped", "upstream_failed"})


class NodeModel(NamedTuple):
    """One node that does not wait. ``told`` counts its dependents that know of its end.

    ``due`` is when it is to be tried again, ``retries`` how many attempts ended so, ``past`` how many it had
    when it was reset, ``error`` what the last one that
    failed has said. ``walk`` is the undoing, counted from 1, that an undo has heard of last. ``let_begin`` is the copy
    that began with its end, or of one that waits the one that follows it, where that is not its neighbour.
    """

    state: str
    attempt: int = 0
    token: int = 1
    holder: str = ""
    told: int = 0
    cause: str = ""
    retries: int = 0
    past: int = 0
    due: float = 0.0
    error: bytes = b""
    walk: int = 0
    let_begin: int | None = None

    @property
    def ended(self) -> bool:
        return self.state in ENDED
