"""Hooks of nodes and of flows, read from a flow file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from taskmesh.flows.choices import Reading
from taskmesh.flows.document import Item
from taskmesh.flows.fields import HOOK_KEYS, HOOKS_KEYS, TYPED_HOOK_KEYS
from taskmesh.model.flow import Node
from taskmesh.model.hooks import Hook, hook_name
from taskmesh.model.problems import Path
from taskmesh.model.triggers import Trigger


class WorkReading(Reading, Protocol):
    """Also reads what runs a task."""

    def working(self, name: str, fields: dict[str, Item], path: Path, item: Item) -> Node: ...


def hooks_of(item: Item | None, path: Path, node: str, reading: WorkReading) -> Iterator[Node]:
    """The hooks of a node, or of the flow where ``node`` is empty; what is wrong is told to ``reading``."""
    for key, child in reading.fields(item, path, "hooks", HOOKS_KEYS, {}).items() if item else ():
        hook, place = Hook(key), (*path, key)
        fields = {"task": child}
        if not isinstance(child.value, str):
            is_typed = isinstance(child.value, dict) and "type" in child.value
            keys = TYPED_HOOK_KEYS if is_typed else HOOK_KEYS
            fields = reading.fields(child, place, "a hook, where it is no name of a task,", keys, {})
        work = reading.working(hook_name(hook, node), fields, place, child)
        yield replace(work, needs=(node,) if node else (), trigger=Trigger(hook=hook))
