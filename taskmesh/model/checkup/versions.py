"""Versions, and which of them have known holes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

Version: TypeAlias = tuple[int, int, int]

_NUMBERS = re.compile(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?")


@dataclass(frozen=True, slots=True)
class Hole:
    """A known hole. ``fixed`` has the first good version of each series that got one; older series have the hole."""

    name: str
    what: str
    fixed: tuple[Version, ...]
    since: Version = (0, 0, 0)

    def is_in(self, version: Version) -> bool:
        if version < self.since or version[:2] > self.fixed[-1][:2]:
            return False
        good = next((each for each in self.fixed if each[:2] == version[:2]), None)
        return good is None or version < good


def parse_version(text: str) -> Version | None:
    """The first three numbers of a version; None where it begins with none."""
    match = _NUMBERS.match(text)
    if match is None:
        return None
    major, minor, patch = (int(part or 0) for part in match.groups())
    return major, minor, patch


def holes_in(version: Version, known: Sequence[Hole]) -> list[Hole]:
    return [hole for hole in known if hole.is_in(version)]


REDIS_HOLES = (
    Hole("CVE-2024-31449", "a script may run code of its own", ((7, 2, 6), (7, 4, 1))),
    Hole("CVE-2024-46981", "a script may run code of its own", ((7, 2, 7), (7, 4, 2))),
    Hole("CVE-2025-21605", "anybody who connects may fill the memory", ((7, 2, 8), (7, 4, 3))),
    Hole("CVE-2025-32023", "a client may write beyond its memory", ((7, 2, 10), (7, 4, 5), (8, 0, 3))),
    Hole(
        "CVE-2025-49844",
        "a script may run code of its own (with CVE-2025-46817, -46818 and -46819)",
        ((7, 2, 11), (7, 4, 6), (8, 0, 4), (8, 2, 2)),
    ),
    Hole(
        "CVE-2026-23479",
        "a client may run code of its own",
        ((7, 4, 9), (8, 2, 6), (8, 4, 3), (8, 6, 3)),
        since=(7, 2, 0),
    ),
)
"""By the release notes of Redis; distributions often mend a hole without a new version."""

VALKEY_HOLES = (
    Hole("CVE-2024-31449", "a script may run code of its own", ((7, 2, 7), (8, 0, 1))),
    Hole("CVE-2024-46981", "a script may run code of its own", ((7, 2, 8), (8, 0, 2))),
    Hole("CVE-2025-21605", "anybody who connects may fill the memory", ((7, 2, 9), (8, 0, 3), (8, 1, 1))),
    Hole(
        "CVE-2025-49844",
        "a script may run code of its own (with CVE-2025-46817, -46818 and -46819)",
        ((7, 2, 11), (8, 0, 6), (8, 1, 4)),
    ),
    Hole("CVE-2025-67733", "a script may forge replies to others", ((7, 2, 12), (8, 0, 7), (8, 1, 6), (9, 0, 3))),
    Hole("CVE-2026-23479", "a client may run code of its own", ((8, 1, 7), (9, 0, 4))),
    Hole("CVE-2026-56684", "a client over TLS may run code of its own", ((8, 1, 9), (9, 0, 5), (9, 1, 1))),
)
"""By the release notes of Valkey."""

RABBITMQ_HOLES = (
    Hole(
        "unbounded binding weights",
        "whoever may bind a queue to a consistent-hash exchange can make it run out of memory",
        ((3, 13, 15), (4, 0, 20), (4, 1, 11), (4, 2, 6), (4, 3, 0)),
    ),
)
