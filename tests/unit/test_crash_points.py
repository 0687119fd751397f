"""The seams at which experiments let processes die are where tests/nemesis/injected/crash_points.py says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.nemesis.injected.crash_points import SEAMS, Trap, crashes, environ_of, seam_of

INJECTED = Path(__file__).parents[1] / "nemesis" / "injected"
RUN_A_TASK = """
from taskmesh.clock import SystemClock
from taskmesh.worker.executors.invoke import Invoker
from taskmesh.worker.channels.protocol import Work
from taskmesh.worker.executors.pulse import Pulse
clock = SystemClock()
Invoker({}, 1, clock, Pulse(print, clock)).run(Work(1, "none", b"", ("run", "node", 1)))
"""


@pytest.mark.parametrize("point", SEAMS)
def test_a_seam_is_there(point: str) -> None:
    owner, method = seam_of(SEAMS[point])
    assert callable(getattr(owner, method))


def test_a_trap_survives_its_way_through_the_environment() -> None:
    trap = Trap("settled", every=3, times=2, victim="worker")
    assert Trap.parse(str(trap)) == trap


def test_a_trap_kills_a_process_at_its_point_and_so_often_at_most(tmp_path: Path) -> None:
    trap = Trap("effect", times=1)
    environ = {**os.environ, **environ_of(tmp_path, (trap,)), "PYTHONPATH": os.pathsep.join([str(INJECTED), *sys.path])}
    # The module's name on the command line is what marks an executor.
    command = [sys.executable, "-c", RUN_A_TASK, "taskmesh.worker.executors.main"]
    first = subprocess.run(command, env=environ, check=False, capture_output=True)
    assert first.returncode == -signal.SIGKILL, first.stderr.decode()
    assert crashes(tmp_path) == ["effect"]
    assert subprocess.run(command, env=environ, check=False).returncode == 0
