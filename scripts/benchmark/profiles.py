"""Turns the profiles of the I/O processes into text."""

from __future__ import annotations

import pstats
from pathlib import Path

SHOWN = 40


def write_text(directory: Path) -> list[Path]:
    """Beside each profile, what took the most time; gives the text files."""
    return [_write(profile) for profile in sorted(directory.glob("*.prof"))]


def _write(profile: Path) -> Path:
    target = profile.with_suffix(".txt")
    with target.open("w") as out:
        stats = pstats.Stats(str(profile), stream=out)
        stats.sort_stats("tottime").print_stats(SHOWN)
        stats.sort_stats("cumulative").print_stats(SHOWN)
    return target
