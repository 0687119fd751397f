"""The items of a mapped node: from its list to the fields of the run in which they stand.

There are several in one field where they are small; so a claim brings little more than its own item with it, however
many there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from typing import Any, NamedTuple

from taskmesh.dispatch.maps.slices import sliced
from taskmesh.errors import TooLargeError, UsageError
from taskmesh.model.flow import Copies
from taskmesh.model.mapping import MAX_ITEMS, Map
from taskmesh.model.params import type_name
from taskmesh.wire import pack

CHUNK_ITEMS = 64
"""At most so many items in one field: a claim unpacks them all for one."""

CHUNK_BYTES = 2048
"""And no more than have so many bytes, unless one alone has."""

MAX_ITEMS_BYTES = 64 * 1024 * 1024
"""What the items of one node may have in all: a product makes much of little."""


class Items(NamedTuple):
    """The items of a node, packed: ``chunks`` are the values of the fields, in order."""

    copies: Copies
    chunks: tuple[bytes, ...]


def items_of(step: Map, over: Any) -> Items | None:
    """What a mapped node makes of the value of its list; None where there is no item.

    :raises UsageError: it is no list, nor names with lists. :raises TooLargeError: there are too many items.
    """
    items = _taken(step, over)
    if not items:
        return None
    size = len(pack(items))
    if size > MAX_ITEMS_BYTES:
        raise TooLargeError(f"the items of the map have {size} bytes; a map can have {MAX_ITEMS_BYTES}")
    per_chunk = 1 if step.slice_size else max(1, min(CHUNK_ITEMS, CHUNK_BYTES * len(items) // size))
    copies = Copies(step.body, len(items), per_chunk, step.most_at_once, bool(step.slice_size), step.needed(len(items)))
    return Items(copies, tuple(pack(items[at : at + per_chunk]) for at in range(0, len(items), per_chunk)))


def _taken(step: Map, over: Any) -> Sequence[Any]:
    items = _product(over) if isinstance(over, Mapping) else _listed(over, "the value of 'map'")
    return sliced(items, step.slice_size, step.slice_by) if step.slice_size else items


def _product(lists: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    """One item for each way to take one from each list; the last list varies fastest."""
    if not lists:
        raise UsageError("the value of 'map' must be a list, or names with lists; it is an object without any")
    checked = {name: _listed(each, f"{name!r} of 'map'") for name, each in lists.items()}
    _check_count(prod(len(each) for each in checked.values()))
    return [dict(zip(checked, values, strict=True)) for values in product(*checked.values())]


def _listed(value: Any, what: str) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise UsageError(f"{what} must be a list, not {type_name(value)}")
    _check_count(len(value))
    return value


def _check_count(count: int) -> None:
    if count > MAX_ITEMS:
        raise TooLargeError(f"the map has {count} items; it may have {MAX_ITEMS}: take them together with 'slice'")
