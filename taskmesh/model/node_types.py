"""Node types: what a node can be beside a task of the user's own.

A node of a type is compiled to a node with a task: ``type: http`` becomes the task ``@http``, and what stands below
``with`` becomes its arguments. So policies, breakers, compensation and rules are the same for both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from taskmesh.model.hook_references import HookCompiler
from taskmesh.model.problems import Hints
from taskmesh.model.references import read_template

MARK = "@"
"""Begins the name of a task that stands for a node type; no task of a user's may begin so."""

TYPE_PATTERN = r"[a-z][a-z0-9_-]{0,63}"
TYPE_RULE = "a name of a type begins with a lower-case letter, goes on with those, digits, _ or -, and has at most 64"

_TYPE = re.compile(TYPE_PATTERN)


class Unknown:
    """Stands for a value that only a run will tell."""


UNKNOWN = Unknown()


def task_of_type(name: str) -> str:
    """The task that a node of this type runs."""
    return MARK + name


def type_of_task(task: str) -> str:
    """The node type that a task stands for; empty for a task of the user's own."""
    return task[len(MARK) :] if task.startswith(MARK) else ""


def unknown_type(name: str, known: Iterable[str]) -> str:
    """The sentence about a type that is not there."""
    names = sorted(known)
    hint = Hints(names).did_you_mean(name) or f"; known are {', '.join(names)} (`taskmesh plugins ls` lists them)"
    return f"there is no node type {name!r} here{hint}"


def is_type_name(name: str) -> bool:
    """Whether a node type may have this name."""
    return _TYPE.fullmatch(name) is not None


def foreseen(value: Any) -> Any:
    """The value as a run will get it, with ``UNKNOWN`` in the place of each text that holds a reference.

    Whatever the references are: others say whether they lead anywhere.
    """
    if isinstance(value, Mapping):
        return {key: foreseen(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [foreseen(item) for item in value]
    if not isinstance(value, str) or "${" not in value:
        return value
    reading = read_template(value, (), HookCompiler())
    return UNKNOWN if reading.problems or reading.template.resolver else reading.template.constant
