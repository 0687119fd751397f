"""Tasks behind a circuit breaker. Their dependency is away while a file is there."""

from __future__ import annotations

import os
import time
from pathlib import Path

from taskmesh import Mesh, Retry
from tests.integration.marks import leave_mark

mesh = Mesh()

FAILURES, RESET_SECONDS, RAMP_SECONDS = 5, 3.0, 3.0

mesh.breaker("dependency", failures=FAILURES, reset_seconds=RESET_SECONDS, ramp_seconds=RAMP_SECONDS)


def outage() -> Path:
    return Path(os.environ["TASKMESH_TEST_EFFECTS"] + ".outage")


def _use_it() -> None:
    if outage().exists():
        leave_mark("refused")
        time.sleep(float(outage().read_text() or 0))
        raise ConnectionRefusedError("the dependency is away")
    leave_mark("served")


@mesh.task(breaker="dependency", retry=Retry(max_attempts=100, wait="fixed", base_seconds=0.05))
def use(number: int = 0) -> int:
    _use_it()
    return number


@mesh.task
def from_cache(number: int = 0) -> str:
    leave_mark("cached")
    return "from the cache"


@mesh.task(breaker="dependency", fallback=from_cache)
def look_up(number: int = 0) -> str:
    _use_it()
    return "fresh"
