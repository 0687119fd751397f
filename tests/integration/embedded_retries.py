"""``python -m``: retries and time limits of a mesh without servers, whose worker is in this process."""

from __future__ import annotations

import time

from taskmesh import NodeState, RunState
from tests.integration.engine_app import (
    aslow,
    auntil_told,
    climb,
    echo,
    far_away,
    flaky,
    mesh,
    slow_at_first,
    told_when,
    until_told,
)

PATIENCE_SECONDS = 30.0


def _retries() -> None:
    assert mesh.submit(flaky, good_at=3).result(timeout=PATIENCE_SECONDS) == 3
    assert mesh.submit(told_when, seconds=1.5, good_at=2).result(timeout=PATIENCE_SECONDS) == 2


def _time_limits() -> None:
    """What cannot be killed is given up; it must neither take a thread away nor keep this process from ending."""
    assert mesh.submit(slow_at_first, good_at=3).result(timeout=PATIENCE_SECONDS) == 3
    run = mesh.submit(aslow)
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.FAILED
    assert "StartToCloseTimeout" in (run.details().error or "")
    for number in range(8):
        assert mesh.submit(echo, value=number).result(timeout=PATIENCE_SECONDS) == number


def _cancel() -> None:
    run = mesh.submit(far_away)
    while run.details().nodes[0].status is not NodeState.RETRYING:
        time.sleep(0.02)
    assert run.cancel()
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.CANCELLED


def _heartbeats() -> None:
    assert mesh.submit(climb, steps=4, falls_silent=False).result(timeout=PATIENCE_SECONDS) == [2, 2]
    assert mesh.submit(climb, steps=4, falls_silent=True).result(timeout=PATIENCE_SECONDS) == [2, 2]
    for task in (until_told, auntil_told):
        run = mesh.submit(task)
        while run.details().nodes[0].status is not NodeState.RUNNING:
            time.sleep(0.02)
        assert run.cancel()
        assert run.wait(timeout=PATIENCE_SECONDS) is RunState.CANCELLED
        assert run.details().nodes[0].status is NodeState.CANCELLED


if __name__ == "__main__":
    with mesh.local_worker(threads=2):
        _retries()
        _time_limits()
        _cancel()
        _heartbeats()
    mesh.close()
