"""What a node runs, in flow files: ``task`` and ``args``, or ``type`` and ``with`` in their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskmesh.flows.choices import Reading
from taskmesh.flows.document import Item
from taskmesh.model.flow import ALL_PARAMS
from taskmesh.model.node_types import TYPE_RULE, is_type_name, task_of_type, type_of_task
from taskmesh.model.problems import Path
from taskmesh.model.values import Value

UNNAMED = "unnamed"


def refuse_mixed_work(fields: Mapping[str, Item], path: Path, reading: Reading) -> None:
    """Tell of the keys of a task beside a type, and of those of a type without one."""
    for key in [key for key in ("task", "args") if key in fields and "type" in fields]:
        reading.found((*path, key), f"{key!r} and 'type' do not go together; write 'type' and 'with'", True)
    if "with" in fields and "type" not in fields:
        reading.found((*path, "with"), "'with' needs a 'type' beside it; a task has 'args'", True)


class WorkReading:
    """Reads one node; what is wrong with its shape is told to ``reading``."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self._path = path
        self._reading = reading

    def work(self, fields: Mapping[str, Item], is_mapping: bool) -> tuple[str, dict[str, Value] | str]:
        """The task of a node, or what stands for its type, and the arguments. One that is no mapping has no keys."""
        if "type" in fields:
            return task_of_type(self._type(fields["type"])), self._args(fields.get("with"), "with")
        path = (*self._path, "task")
        if is_mapping and "task" not in fields:
            self._reading.found(path, "the key 'task' is missing")
        task = self._reading.text(fields.get("task"), path) or UNNAMED
        if kind := type_of_task(task):
            self._reading.found(path, f"no task has such a name; a node type is written as type: {kind}")
            task = UNNAMED
        return task, self._args(fields.get("args"), "args")

    def _args(self, item: Item | None, key: str) -> dict[str, Value] | str:
        if item is None:
            return {}
        if item.value == ALL_PARAMS:
            return ALL_PARAMS
        args: Any = item.plain()
        if isinstance(args, dict):
            return args
        wanted = f"a mapping of names to values, or {ALL_PARAMS}"
        self._reading.found((*self._path, key), f"{key} must be {wanted}, not {item.shown}")
        return {}

    def _type(self, item: Item) -> str:
        path = (*self._path, "type")
        name = self._reading.text(item, path)
        if name and not is_type_name(name):
            self._reading.found(path, f"type {name!r} is not allowed: {TYPE_RULE}")
        return name or UNNAMED
