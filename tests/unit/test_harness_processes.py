from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.leftovers import end_leftovers
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
    with _runner(code, tmp_path / "log") as (runner, orphan):
        runner.kill()
        assert _ended(orphan)


# An embedded server is in a session of its own, and stays when whoever started it is killed.
GUARDED = """
import pathlib, sys, redis
from taskmesh.clock import SystemClock
from taskmesh.store.embedded import EmbeddedServer
from tests.harness.leftovers import leftovers_ended
directory = pathlib.Path(sys.argv[1])
with leftovers_ended(directory):
    server = EmbeddedServer(directory / "mesh", SystemClock())
    server.acquire()
    print(redis.Redis(unix_socket_path=str(server.socket_path)).info()["process_id"], flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("is_killed", [False, True])
def test_an_embedded_server_that_nobody_has_stopped_dies_with_the_test_runner(tmp_path: Path, is_killed: bool) -> None:
    with _runner(GUARDED, tmp_path) as (runner, orphan):
        if is_killed:
            runner.kill()
        else:
            assert runner.stdin is not None
            runner.stdin.close()
        assert _ended(orphan)


def test_only_what_works_in_the_directory_is_ended(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine-too").mkdir()
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    mine = Process(sleep, log=tmp_path / "mine.log", cwd=tmp_path / "mine")
    other = Process(sleep, log=tmp_path / "other.log", cwd=tmp_path / "mine-too")
    end_leftovers(tmp_path / "mine")
    assert mine.wait() == -signal.SIGKILL
    assert other.running
    other.kill9()


@contextmanager
def _runner(code: str, argument: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process that runs ``code``, which prints the number of another one, and waits; and a descriptor of that one."""
    runner = subprocess.Popen(
        [sys.executable, "-c", code, str(argument)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with runner:
        assert runner.stdout is not None
        yield runner, os.pidfd_open(int(runner.stdout.readline()))


def _ended(pidfd: int, timeout_seconds: float = 30) -> bool:
    try:
        readable, _, _ = select.select([pidfd], [], [], timeout_seconds)
    finally:
        os.close(pidfd)
    return bool(readable)
