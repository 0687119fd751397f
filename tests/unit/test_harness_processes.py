from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.ports import free_port, is_free
from tests.harness.processes import Process, Processes, processes


def python(directory: Path, code: str) -> Process:
    return Process([sys.executable, "-u", "-c", code], log=directory / "out.log")


def test_a_free_port_is_free_and_below_the_range_of_outgoing_connections() -> None:
    port = free_port()
    assert is_free(port)
    assert port < 32_768


def test_waits_for_a_line_and_terminates(tmp_path: Path) -> None:
    child = python(tmp_path, "import time; print('ready 42'); time.sleep(60)")
    assert child.wait_for_line(r"^ready (\d+)$").group(1) == "42"
    assert child.terminate() == -signal.SIGTERM
    assert not child.running


def test_a_child_that_ends_before_its_line_is_reported_with_its_output(tmp_path: Path) -> None:
    child = python(tmp_path, "print('no such thing'); raise SystemExit(3)")
    with pytest.raises(AssertionError, match=r"(?s)ended with 3 before line.*no such thing"):
        child.wait_for_line("ready")


def test_a_child_that_never_gets_there_is_reported(tmp_path: Path) -> None:
    child = python(tmp_path, "import time; time.sleep(60)")
    with pytest.raises(AssertionError, match="gave no line like 'ready' within"):
        child.wait_for_line("ready", timeout_seconds=0.2)
    child.kill9()


def test_a_group_ends_all_of_its_children(tmp_path: Path) -> None:
    with processes(tmp_path) as group:
        children = [group.start([sys.executable, "-c", "import time; time.sleep(60)"]) for _ in range(2)]
    assert [child.wait() for child in children] == [-signal.SIGKILL] * 2
    assert isinstance(group, Processes)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends orphans on Linux only")
def test_a_child_dies_with_the_test_runner(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from tests.harness.processes import Process\n"
        "child = Process(['sleep', '60'], log=pathlib.Path(sys.argv[1]))\n"
        "print(child.pid, flush=True); sys.stdin.read()"
    )
    runner = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "log")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert runner.stdout is not None
    assert runner.stdin is not None
    orphan = int(runner.stdout.readline())
    watch = os.pidfd_open(orphan)
    runner.kill()
    runner.wait()
    runner.stdin.close()
    runner.stdout.close()
    assert _ended(watch, timeout_seconds=10)


def _ended(pidfd: int, timeout_seconds: float) -> bool:
    try:
        readable, _, _ = select.select([pidfd], [], [], timeout_seconds)
    finally:
        os.close(pidfd)
    return bool(readable)
