"""A document that knows where each of its values was written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from taskmesh.model.params import type_name
from taskmesh.model.problems import Path
from taskmesh.model.references import MAX_DEPTH
from taskmesh.model.values import Value

MAX_DOCUMENT_DEPTH = MAX_DEPTH + 4
"""Leaves room for the document, its nodes, a node and its args around a value of the greatest depth."""

MAX_REPEATED_VALUES = 100_000
"""How many values aliases may stand for in all, so that a few lines cannot become billions of values."""

Scalar: TypeAlias = "bool | int | float | str | bytes | None"


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A place in a text; both count from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Item:
    """A value and its place; ``key_mark`` is the place of the key that it belongs to.

    ``text`` is a scalar as it was written. ``size`` counts the values inside, itself included; ``height`` the
    containers below it.
    """

    value: Scalar | list[Item] | dict[str, Item]
    mark: Mark
    text: str = ""
    key_mark: Mark | None = None
    size: int = 1
    height: int = 0

    @property
    def shown(self) -> str:
        """What the value is, for a sentence."""
        if isinstance(self.value, dict):
            return "a mapping"
        if isinstance(self.value, list):
            return "a list"
        if self.value is None:
            return "empty"
        return f"{self.text!r} ({type_name(self.value)})"

    def append(self, child: Item) -> None:
        """Add a child, which is complete, to a list."""
        assert isinstance(self.value, list)
        self._enclose(child)
        self.value.append(child)

    def put(self, key: str, key_mark: Mark, child: Item) -> list[Finding]:
        """Add a child, which is complete, to a mapping; a key that is there already is found wrong."""
        assert isinstance(self.value, dict)
        self._enclose(child)
        child.key_mark = key_mark
        first = self.value.setdefault(key, child)
        if first is child or first.key_mark is None:
            return []
        return [Finding(key_mark, f"the key {key!r} is written twice, first in line {first.key_mark.line}")]

    def _enclose(self, child: Item) -> None:
        self.size += child.size
        self.height = max(self.height, child.height + 1)

    def plain(self) -> Value:
        """The bare value. The depth of a document is limited, and so is this recursion."""
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value

    def locate(self, path: Path, on_key: bool) -> Mark:
        """The place of what stands at ``path``, or of the nearest thing around it that was written."""
        item = self
        for step in path:
            inner = item._child(step)
            if inner is None:
                break
            item = inner
        return item.key_mark if on_key and item.key_mark else item.mark

    def _child(self, step: str | int) -> Item | None:
        if isinstance(self.value, dict):
            return self.value.get(str(step))
        if isinstance(self.value, list) and isinstance(step, int) and step < len(self.value):
            return self.value[step]
        return None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong at a place of a text."""

    mark: Mark
    message: str


class UnreadableError(Exception):
    """A text that cannot be read any further."""

    def __init__(self, mark: Mark, message: str) -> None:
        super().__init__(message)
        self.finding = Finding(mark, message)
