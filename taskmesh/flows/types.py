"""Nodes of node types in flow files: ``type`` and ``with`` in the place of ``task`` and ``args``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskmesh.flows.choices import Reading
from taskmesh.flows.document import Item
from taskmesh.model.node_types import TYPE_RULE, is_type_name, task_of_type
from taskmesh.model.problems import Path
from taskmesh.model.values import Value

UNNAMED = "unnamed"


class TypeReading:
    """Reads one node; what is wrong with its shape is told to ``reading``."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self._path = path
        self._reading = reading

    def work(self, fields: Mapping[str, Item]) -> tuple[str, dict[str, Value]]:
        """The task that stands for the type, and its arguments."""
        return task_of_type(self._type(fields["type"])), self._config(fields.get("with"))

    def _type(self, item: Item) -> str:
        path = (*self._path, "type")
        name = self._reading.text(item, path)
        if name and not is_type_name(name):
            self._reading.found(path, f"type {name!r} is not allowed: {TYPE_RULE}")
        return name or UNNAMED

    def _config(self, item: Item | None) -> dict[str, Value]:
        config: Any = item.plain() if item else {}
        if isinstance(config, dict):
            return config
        assert item is not None
        self._reading.found((*self._path, "with"), f"with must be a mapping of names to values, not {item.shown}")
        return {}
