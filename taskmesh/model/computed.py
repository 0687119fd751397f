"""Sequences whose values are computed when they are asked for, and never kept."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar, overload

T_co = TypeVar("T_co", covariant=True)


class Computed(Sequence[T_co]):
    """Those that derive from it say how long it is, and what stands at a place."""

    __slots__ = ()

    @abstractmethod
    def at(self, place: int) -> T_co:
        """What stands at a place, counted from 0; there is one."""

    @overload
    def __getitem__(self, place: int) -> T_co: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[T_co]: ...

    def __getitem__(self, place: int | slice) -> T_co | Sequence[T_co]:
        places = range(len(self))[place]
        return [self.at(each) for each in places] if isinstance(places, range) else self.at(places)
