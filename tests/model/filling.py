"""Values with references in them, and what these stand for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from taskmesh.dispatch.maps.slices import sliced
from taskmesh.model.mapping import Map

REFERENCE = re.compile(r"\$\{([^}]*)\}")


def filled(value: Any, lookup: Callable[[str], Any]) -> Any:
    """Values with what their references stand for; each is a text of its own here."""
    if isinstance(value, str):
        found = REFERENCE.fullmatch(value)
        return lookup(found[1]) if found else value
    if isinstance(value, Mapping):
        return {key: filled(each, lookup) for key, each in value.items()}
    return [filled(each, lookup) for each in value] if isinstance(value, list | tuple) else value


def items_of(step: Map, over: Any) -> Sequence[Any]:
    """What a map runs over. Which items stand together in a slice is left to their hashes, that none is lost is not."""
    items = [dict(zip(over, each, strict=True)) for each in product(*over.values())] if isinstance(over, dict) else over
    if not step.slice_size:
        return list(items)
    slices = sliced(items, step.slice_size, step.slice_by)
    taken = [item for each in slices for item in each]
    assert sorted(map(repr, taken)) == sorted(map(repr, items)), "slices have other items than their list"
    assert all(0 < len(each) <= step.slice_size for each in slices), "a slice has too many items"
    return slices


def calls_of(step: Map, args: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What the task of a map is called with, for each item."""
    given = args.get("given", {})
    for at, item in enumerate(items_of(step, args["over"])):
        parts = {f"item.{key}": value for key, value in item.items()} if isinstance(item, dict) else {}
        yield filled(step.body.args, {**given, **parts, "item": item, "index": at}.__getitem__)
