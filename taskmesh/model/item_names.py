"""The names of the items of mapped nodes: ``NODE[PLACE]``, the place counted from 0."""

from __future__ import annotations

import re

_NAME = re.compile(r"(.+)\[([0-9]{1,18})\]", re.DOTALL)


def item_name(node: str, place: int) -> str:
    return f"{node}[{place}]"


def read_item_name(text: str) -> tuple[str, int] | None:
    """The node and the place in the name of an item; None where it is no such name."""
    found = _NAME.fullmatch(text)
    return (found[1], int(found[2])) if found else None
