"""What processes use over time, and how fast that grows."""

from __future__ import annotations

import contextlib
import os
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 2.0
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
SETTLED = 0.3
"""What part of the samples comes before a process has all that it needs."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process uses at one moment."""

    at: float
    resident_bytes: int
    files: int
    threads: int


@dataclass(frozen=True, slots=True)
class Growth:
    """The steepest of all processes, by the hour."""

    megabytes: float
    files: float
    threads: float


class Meter:
    """Looks at processes from a thread of its own until it is stopped."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._usages: dict[int, list[Usage]] = {pid: [] for pid in pids}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def growth(self) -> Growth:
        """How fast they grew, once they had settled."""
        settled = [usages[int(len(usages) * SETTLED) :] for usages in self._usages.values()]
        return Growth(
            _steepest(settled, lambda usage: usage.resident_bytes / 1e6),
            _steepest(settled, lambda usage: usage.files),
            _steepest(settled, lambda usage: usage.threads),
        )

    def _run(self) -> None:
        while not self._stopping.wait(SAMPLE_SECONDS):
            for pid, usages in self._usages.items():
                # One that is gone uses nothing more; whoever cares for that looks for it.
                with contextlib.suppress(OSError):
                    usages.append(usage_of(pid))


def usage_of(pid: int) -> Usage:
    place = Path(f"/proc/{pid}")
    pages = int((place / "statm").read_text().split()[1])
    return Usage(time.monotonic(), pages * PAGE_BYTES, len(os.listdir(place / "fd")), len(os.listdir(place / "task")))


def _steepest(settled: Sequence[Sequence[Usage]], value: Callable[[Usage], float]) -> float:
    slopes = [_slope({usage.at: value(usage) for usage in usages}) for usages in settled]
    return round(max(slopes) * 3600, 1)


def _slope(values: Mapping[float, float]) -> float:
    return statistics.linear_regression(list(values.keys()), list(values.values())).slope
