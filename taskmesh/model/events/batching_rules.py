"""What ``on`` of a flow has to keep where it gathers events."""

from __future__ import annotations

from collections.abc import Iterator

from taskmesh.model.durations import as_float
from taskmesh.model.events.batching import MAX_BATCH, MAX_OPEN_SECONDS, Batching
from taskmesh.model.events.references import EventCompiler
from taskmesh.model.problems import Path, Problem
from taskmesh.model.references import read_template


def batching_problems(batching: Batching, path: Path) -> Iterator[Problem]:
    """Everything that is wrong with it; ``path`` is where its keys stand."""
    yield from _mode_problems(batching, path)
    times = (
        ("window", batching.window_seconds),
        ("debounce", batching.debounce_seconds),
        ("max_wait", batching.max_wait_seconds),
    )
    for key, seconds in times:
        if seconds is not None and not 0 < seconds <= MAX_OPEN_SECONDS:
            most = f"{MAX_OPEN_SECONDS:.0f} seconds (24 h)"
            yield Problem((*path, key), f"{key} must be more than 0 and at most {most}, not {as_float(seconds):g}")
    if not 1 <= batching.max_batch <= MAX_BATCH:
        yield Problem((*path, "max_batch"), f"max_batch must be 1-{MAX_BATCH} events, not {batching.max_batch}")
    if batching.key:
        yield from _key_problems(batching.key, (*path, "key"))


def _mode_problems(batching: Batching, path: Path) -> Iterator[Problem]:
    window, debounce, longest = batching.window_seconds, batching.debounce_seconds, batching.max_wait_seconds
    if window is not None and debounce is not None:
        yield Problem((*path, "window"), "'window' and 'debounce' are two ways to close a batch; keep one", on_key=True)
    elif window is None and debounce is None:
        yield Problem(
            path, "'max_wait', 'max_batch' and 'key' are for events that are gathered; add window or debounce"
        )
    elif longest is not None and debounce is None:
        yield Problem((*path, "max_wait"), "max_wait is for debounce alone: a window ends by itself", on_key=True)
    elif longest is not None and debounce is not None and longest < debounce:
        yield Problem((*path, "max_wait"), f"max_wait must not be less than debounce ({debounce:g} s)")


def _key_problems(key: str, path: Path) -> Iterator[Problem]:
    yield from read_template(key, path, EventCompiler()).problems
    if "${" not in key:
        yield Problem(path, "key must refer to the event; without it there is one batch for all events of the flow")
