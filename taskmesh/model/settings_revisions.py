"""Revisions of the live settings that are pushed to all workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class SettingsRevision(NamedTuple):
    """What was pushed once, by whom, when (epoch seconds), and why. It never changes; the newest one holds.

    ``kind`` is push, rollback or unset; of a rollback, ``of`` is the revision that had these values before, else 0.
    ``values`` has live settings by dotted key; it is empty where all workers go by their own settings.
    """

    number: int
    kind: str
    at: float
    by: str
    why: str
    of: int
    values: Mapping[str, Any]
