"""The names and the edges of the nodes of a flow that are copies of one: computed by position, never kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from taskmesh.model.computed import Computed
from taskmesh.model.flow import Copies

T = TypeVar("T")


class Same(Computed[T], Generic[T]):
    """The same value so many times."""

    def __init__(self, value: T, count: int) -> None:
        self._value = value
        self._count = count

    def __len__(self) -> int:
        return self._count

    def at(self, place: int) -> T:
        return self._value


class Names(Computed[str]):
    """The names of copies, by position."""

    def __init__(self, copies: Copies) -> None:
        self._copies = copies

    def __len__(self) -> int:
        return self._copies.total

    def at(self, place: int) -> str:
        return self._copies.name_of(place)


class Index(Mapping[str, int]):
    """The positions of copies, by name."""

    def __init__(self, copies: Copies) -> None:
        self._copies = copies

    def __getitem__(self, name: str) -> int:
        place = self._copies.place_of(name)
        if place is None:
            raise KeyError(name)
        return place

    def __iter__(self) -> Iterator[str]:
        return map(self._copies.name_of, range(self._copies.total))

    def __len__(self) -> int:
        return self._copies.total
