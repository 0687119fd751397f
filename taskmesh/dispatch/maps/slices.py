"""Items taken together in slices: an item stays in its slice when others come or go.

A slice is what the hashes of its items begin with. One that would have too many items becomes two, by the next bit; so
nothing but the items themselves decides, and what is added to one slice changes no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from taskmesh.dispatch.entrance import canonical
from taskmesh.errors import UsageError
from taskmesh.model.params import type_name

_HASH_BYTES = 8
_TOP_BIT = 8 * _HASH_BYTES - 1

_Hashed: TypeAlias = "list[tuple[int, Any]]"


def sliced(items: Sequence[Any], size: int, by: str) -> list[list[Any]]:
    """The items in slices of at most ``size``, each in the order of the list. Equal ones are never apart by chance.

    ``by`` names the entry of each item that decides; the whole item where it is empty.

    :raises UsageError: an item has no such entry.
    """
    hashed = [(_hash(_key(item, by)), item) for item in items]
    return [[item for _, item in each] for each in _cut(hashed, size, _TOP_BIT)]


def _cut(hashed: _Hashed, size: int, bit: int) -> Iterator[_Hashed]:
    if len(hashed) <= size:
        if hashed:
            yield hashed
    elif bit < 0:
        # More equal ones than a slice may have.
        for start in range(0, len(hashed), size):
            yield hashed[start : start + size]
    else:
        yield from _cut([each for each in hashed if not each[0] >> bit & 1], size, bit - 1)
        yield from _cut([each for each in hashed if each[0] >> bit & 1], size, bit - 1)


def _key(item: Any, by: str) -> Any:
    if not by:
        return item
    if not isinstance(item, dict):
        raise UsageError(f"slice_by is {by!r}, but an item is no object: it is of the type {type_name(item)}")
    if by not in item:
        raise UsageError(f"slice_by is {by!r}, but an item has no such entry")
    return item[by]


def _hash(key: Any) -> int:
    return int.from_bytes(hashlib.blake2b(canonical(key), digest_size=_HASH_BYTES).digest(), "big")
