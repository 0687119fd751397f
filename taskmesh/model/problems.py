"""What is wrong with a definition: one sentence each, with the place it is about."""

from __future__ import annotations

import difflib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Path: TypeAlias = "tuple[str | int, ...]"
"""Keys and positions from the top of a flow to a place in it, as in ``("nodes", "ship", "args", "parcel")``."""

MAX_HINTS = 50
"""A wrong prefix can make every name of a large flow unknown, and each hint compares with thousands of names."""

_MAX_COMPARED = 2000


@dataclass(frozen=True, slots=True)
class Problem:
    """A rule that is broken, and where. ``on_key`` means that the key at ``path`` is at fault, not its value."""

    path: Path
    message: str
    on_key: bool = False

    def __str__(self) -> str:
        if len(self.path) >= 2 and self.path[0] == "nodes":
            return f"node {self.path[1]!r}: {self.message}"
        return self.message


class Hints:
    """Finds the known name that is nearest to an unknown one. Gives up silently after MAX_HINTS names."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = tuple(sorted(known))
        self._found: dict[str, str] = {}

    def did_you_mean(self, name: str) -> str:
        """``"; did you mean 'x'?"``, or nothing where no known name is near."""
        hint = self._found.get(name)
        if hint is None and len(self._found) < MAX_HINTS:
            hint = self._found[name] = self._hint(name)
        return hint or ""

    def _hint(self, name: str) -> str:
        nearest = difflib.get_close_matches(name, self._candidates(name), n=1)
        return f"; did you mean {nearest[0]!r}?" if nearest else ""

    def _candidates(self, name: str) -> tuple[str, ...]:
        if len(self._known) <= _MAX_COMPARED:
            return self._known
        # Neighbours in the alphabet share the longest beginning.
        place = bisect_left(self._known, name)
        return self._known[max(0, place - _MAX_COMPARED // 2) : place + _MAX_COMPARED // 2]


def listed(names: Sequence[str], shown: int) -> str:
    """The first of many names."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def quoted(names: Sequence[str]) -> str:
    """Names as a sentence has them."""
    return ", ".join(repr(name) for name in names)
