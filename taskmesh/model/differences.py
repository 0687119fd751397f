"""What differs between two documents, place by place. Knows nothing of what the places mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Change(StrEnum):
    """What became of a place."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Difference:
    """One place of two documents, by its keys from the top; ``before`` is None where it was added, as is ``after``."""

    path: tuple[str, ...]
    change: Change
    before: Any = None
    after: Any = None

    def to_mapping(self) -> dict[str, Any]:
        """As plain data."""
        return {"path": list(self.path), "change": str(self.change), "before": self.before, "after": self.after}


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[Difference]:
    """Every difference, in the order of the older document; what is new follows. Mappings are entered, lists are not.

    The order of keys does not matter.
    """
    for key, old in before.items():
        place = (*path, key)
        if key not in after:
            yield Difference(place, Change.REMOVED, before=old)
        elif isinstance(old, Mapping) and isinstance(after[key], Mapping):
            yield from differences(old, after[key], place)
        elif not _same(old, after[key]):
            yield Difference(place, Change.CHANGED, old, after[key])
    for key, new in after.items():
        if key not in before:
            yield Difference((*path, key), Change.ADDED, after=new)


def _same(one: Any, other: Any) -> bool:
    """Equal, and of one type, at any depth: true is not 1, and a text is not its number."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return type(one) is type(other) and bool(one == other)
