"""Files that processes of an experiment read while it writes them."""

from __future__ import annotations

from pathlib import Path


def write_whole(file: Path, text: str) -> None:
    """Write a file so that nobody ever reads a part of it."""
    fresh = file.with_suffix(".fresh")
    fresh.write_text(text)
    fresh.replace(file)
