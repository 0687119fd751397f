"""Ends what tests leave behind in their directories: an embedded server outlives its users where those are killed.

``python -m tests.harness.leftovers DIRECTORY`` waits until its standard input is closed, or whoever has that is gone.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep

import psutil

ROOT = Path(__file__).parents[2]
PASSES = 40
PASS_SECONDS = 0.05
"""What is ended may be about to start something, so it is looked again; but not for ever."""


@contextmanager
def leftovers_ended(directory: Path) -> Iterator[None]:
    """With the end of this, or of this process, end every process that works in ``directory`` or below."""
    guard = subprocess.Popen(
        [sys.executable, "-m", "tests.harness.leftovers", str(directory)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        # What is sent to a whole process group is not meant for what has to clear up after it.
        start_new_session=True,
    )
    try:
        yield
    finally:
        guard.communicate()


def end_leftovers(directory: Path) -> None:
    """Kill every process that works in ``directory`` or below."""
    for _ in range(PASSES):
        found = [process for process in psutil.process_iter() if _works_in(process, directory)]
        if not found:
            return
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        sleep(PASS_SECONDS)


def _works_in(process: psutil.Process, directory: Path) -> bool:
    try:
        return Path(process.cwd()).is_relative_to(directory)
    except psutil.Error:
        return False


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end_leftovers(Path(sys.argv[1]))
