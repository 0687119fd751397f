"""Counts what a directory holds: lists its files, counts slices of them side by side, joins the counts in a report."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from taskmesh import Mesh

SLICES = 24
MAX_FILES = 20_000
SHOWN_KINDS = 15

mesh = Mesh()


@mesh.task
def list_files(directory: str, slices: int) -> list[list[str]]:
    """The files below a directory as ``slices`` lists of paths relative to it.

    Hidden directories and files, and Python's caches, are passed over.
    """
    files = sorted(_files(Path(directory)))
    if len(files) > MAX_FILES:
        raise ValueError(f"{directory} holds {len(files)} files; choose a directory with at most {MAX_FILES}")
    return [files[start::slices] for start in range(slices)]


@mesh.task
def count(directory: str, files: list[str]) -> dict[str, Any]:
    """Count lines, words and bytes of some files, in all and lines by kind of file."""
    totals: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for name in files:
        content = _content(Path(directory, name))
        if content is None:
            totals["unreadable"] += 1
            continue
        lines = content.count(b"\n")
        totals.update(files=1, lines=lines, words=len(content.split()), bytes=len(content))
        kinds[Path(name).suffix or Path(name).name] += lines
    return {"totals": dict(totals), "kinds": dict(kinds)}


@mesh.task
def report(directory: str, counts: list[dict[str, Any]], report_directory: str) -> dict[str, Any]:
    """Join the counts, write ``report.md`` to ``report_directory``, and give back the totals and its path."""
    totals: Counter[str] = Counter(files=0, lines=0, words=0, bytes=0)
    kinds: Counter[str] = Counter()
    for each in counts:
        totals.update(each["totals"])
        kinds.update(each["kinds"])
    path = Path(report_directory, "report.md")
    _write(path, "\n".join(_report(directory, totals, kinds)) + "\n")
    return {**totals, "report": str(path.resolve())}


@mesh.flow(version="1")
def etl(directory: str, report_directory: str) -> Any:
    """List, count in SLICES slices at once, report."""
    slices = list_files(directory, SLICES)
    counts = [count(directory, slices[number]).named(f"count_{number + 1}") for number in range(SLICES)]
    return report(directory, counts, report_directory)


def _files(directory: Path) -> Iterator[str]:
    if not directory.is_dir():
        raise NotADirectoryError(f"{directory} is not a directory")
    for parent, directories, files in os.walk(directory):
        directories[:] = [name for name in directories if not name.startswith((".", "__pycache__"))]
        for name in files:
            if not name.startswith("."):
                yield os.path.relpath(os.path.join(parent, name), directory)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        # A file may have gone since it was listed, or belong to somebody else; the report says how many.
        return None


def _report(directory: str, totals: Counter[str], kinds: Counter[str]) -> Iterator[str]:
    yield f"# What {Path(directory).resolve()} holds"
    yield ""
    yield from (f"- {value:,} {name}" for name, value in totals.items())
    yield ""
    yield "| kind | lines |"
    yield "|---|---:|"
    yield from (f"| {kind} | {lines:,} |" for kind, lines in kinds.most_common(SHOWN_KINDS))


def _write(path: Path, text: str) -> None:
    """Put the whole file in place at once: a task may run twice, and a reader never sees half a report."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
