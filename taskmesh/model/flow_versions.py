"""Registered flows: their versions, how a version is named, and what can be done to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from taskmesh.errors import UsageError

LATEST = "latest"

MAX_MESSAGE_BYTES = 1000
MAX_BODY_BYTES = 8 * 1024 * 1024
"""How large an encoded flow may be that is registered; one script stores it, and nothing else is served meanwhile."""

NAME_RULE = "1-128 letters, digits or any of . _ -, and begin with a letter, a digit or _"
_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_REFERENCE = re.compile(rf"({_NAME})(?:@({LATEST}|[1-9][0-9]{{0,8}}))?")
_REGISTRABLE = re.compile(_NAME)


class VersionState(StrEnum):
    """Where a version stands. At most one of a name is active."""

    DRAFT = "draft"  # runs only when it is named by its number
    INACTIVE = "inactive"  # may be activated
    ACTIVE = "active"  # what the bare name means
    ARCHIVED = "archived"  # neither runs nor can be activated, until it is restored


@dataclass(frozen=True, slots=True)
class FlowVersion:
    """One version of a registered flow; nothing but its state ever changes.

    ``hash`` is the address of its body, as runs know it. ``label`` is what the flow itself says as its version,
    ``nodes`` how many it has; ``at`` in epoch seconds of the store's clock, when ``author`` pushed it.
    """

    name: str
    number: int
    state: VersionState
    hash: str
    label: str
    nodes: int
    author: str
    at: float
    message: str

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.number}"


@dataclass(frozen=True, slots=True)
class RegisteredFlow:
    """A name, and its versions: the numbers of the newest and of the active one, None where none is."""

    name: str
    latest: int
    active: int | None


class FlowChange(NamedTuple):
    """An entry of the log of a flow: what was done to a version, by whom, when (epoch seconds), and why.

    ``kind`` is push, activate, rollback, archive or restore; ``before`` is the version that was active until then, of
    an activation or a rollback, None where none was.
    """

    kind: str
    at: float
    number: int
    before: int | None
    by: str
    why: str


@dataclass(frozen=True, slots=True)
class FlowReference:
    """How a caller names a version: by its number, as the latest, or, with neither, as the active one."""

    name: str
    number: int | None = None
    latest: bool = False

    @classmethod
    def parse(cls, text: str) -> FlowReference:
        """:raises UsageError: for what is none."""
        match = _REFERENCE.fullmatch(text)
        if match is None:
            raise UsageError(
                f"{text!r} names no registered flow; write NAME, NAME@NUMBER or NAME@{LATEST}, where NAME must be "
                f"{NAME_RULE}"
            )
        name, which = match.groups()
        return cls(name, int(which) if which and which != LATEST else None, which == LATEST)

    def __str__(self) -> str:
        which = LATEST if self.latest else self.number
        return self.name if which is None else f"{self.name}@{which}"


def is_registrable(name: str) -> bool:
    """Whether a flow of this name can be registered."""
    return _REGISTRABLE.fullmatch(name) is not None
