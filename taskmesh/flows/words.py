"""Keys of a flow file whose value is one word of a few."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TypeVar

from taskmesh.flows.document import Item
from taskmesh.model.problems import Hints, Path

E = TypeVar("E", bound=StrEnum)


def one_of(fields: Mapping[str, Item], key: str, default: E, found: Callable[[Path, str], None], above: Path = ()) -> E:
    """The word of a key, of those that the default belongs to; ``found`` hears of any other.

    ``above`` is where the fields stand.
    """
    item, known = fields.get(key), [str(each) for each in type(default)]
    if item is None:
        return default
    if item.value in known:
        return type(default)(str(item.value))
    hint = Hints(known).did_you_mean(item.text)
    found((*above, key), f"{key} must be one of {', '.join(known)}{hint}")
    return default
