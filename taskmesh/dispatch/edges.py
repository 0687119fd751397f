"""The edges that leave a node, cut into slices: one script tells only so many dependents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from taskmesh.model.computed import Computed
from taskmesh.wire import pack


@dataclass(frozen=True, slots=True)
class EdgeChunk:
    """A slice of the edges that leave one node. ``start`` counts the edges before it.

    ``special`` are those of the dependents that have rules, packed for the scripts; empty where none has.
    """

    start: int
    packed: bytes
    last: bool
    special: bytes = b""


class Cut(Computed[EdgeChunk]):
    """So many slices, each made when it is asked for."""

    def __init__(self, count: int, make: Callable[[int], EdgeChunk]) -> None:
        self._count = count
        self._make = make

    def __len__(self) -> int:
        return self._count

    def at(self, place: int) -> EdgeChunk:
        return self._make(place)


NO_EDGES = (EdgeChunk(0, pack([]), last=True),)
"""The slices of a node without dependents."""
