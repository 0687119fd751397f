"""The names and the edges of the nodes of a flow that are copies of one: computed by position, never kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Generic, TypeVar, overload

from taskmesh.model.flow import Copies

T = TypeVar("T")


class Computed(Sequence[T]):
    """A sequence of ``count`` values that are computed when they are asked for."""

    def __init__(self, count: int) -> None:
        self._count = count

    def _at(self, place: int) -> T:
        raise NotImplementedError

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> T: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[T]: ...

    def __getitem__(self, place: int | slice) -> T | Sequence[T]:
        places = range(self._count)[place]
        return [self._at(each) for each in places] if isinstance(places, range) else self._at(places)


class Same(Computed[T], Generic[T]):
    """The same value so many times."""

    def __init__(self, value: T, count: int) -> None:
        super().__init__(count)
        self._value = value

    def _at(self, place: int) -> T:
        return self._value


class Names(Computed[str]):
    """The names of copies, by position."""

    def __init__(self, copies: Copies) -> None:
        super().__init__(copies.total)
        self._copies = copies

    def _at(self, place: int) -> str:
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
