"""Nodes of type shell with programs that mean no good."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from taskmesh.config.settings import PluginsSection
from taskmesh.errors import NodeFailedError, NodeRefusedError, TaskCancelledError
from taskmesh.plugins.builtin.shell import ShellNode
from tests.harness.node_context import OneNode

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has what its limits need")

SH = "/bin/sh"
PATIENCE_SECONDS = 30.0


def other_user() -> str | None:
    """Whom programs run as where the tests are root: servers of other tests may be those of nobody."""
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("games", "daemon", "nobody") if name in known) if os.geteuid() == 0 else None


USER = other_user()


# Tests of one user run beside each other, and the processes of all of them count.
ROOMY = {"shell_seconds": 60.0, "shell_processes": 500}


def settings(*programs: str, **section: Any) -> PluginsSection:
    return PluginsSection(shell_programs=programs or ("*",), shell_user=USER, **{**ROOMY, **section})


def run(*argv: str, section: PluginsSection | None = None, **config: Any) -> Any:
    return ShellNode(section or settings()).execute({"argv": list(argv), **config}, OneNode())


def sh(script: str, section: PluginsSection | None = None, **config: Any) -> Any:
    return run(SH, "-c", script, section=section, **config)


def alive(mark: str) -> list[int]:
    """The processes that have this among their arguments."""
    return [each.pid for each in psutil.process_iter(["cmdline"]) if mark in (each.info["cmdline"] or [])]


def until_gone(mark: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while alive(mark):
        assert time.monotonic() < end, f"still there: {alive(mark)}"
        time.sleep(0.05)


def mark_of(number: int) -> str:
    """A number of seconds that no other process sleeps for."""
    return f"{os.getpid()}.{number}"


def test_a_program_gets_its_arguments_as_they_are_and_no_shell_reads_them() -> None:
    output = run("/usr/bin/printf", "%s|", "$HOME", "; id", "`id`", "a b", "*")

    assert output == {"code": 0, "stdout": "$HOME|; id|`id`|a b|*|", "stderr": ""}


def test_the_environment_is_what_is_listed_and_nothing_else() -> None:
    assert run("/usr/bin/env")["stdout"] == ""
    assert run("/usr/bin/env", env={"A": "b c"})["stdout"] == "A=b c\n"


def test_input_is_given_and_outputs_are_text_or_bytes() -> None:
    assert run("/bin/cat", stdin="grüße")["stdout"] == "grüße"
    assert sh(r"printf '\377'; echo no >&2") == {"code": 0, "stdout": b"\xff", "stderr": "no\n"}


def test_each_program_has_an_empty_directory_that_is_gone_afterwards() -> None:
    output = sh("pwd; ls -a; mkdir -p a/b; touch a/b/c; chmod 000 a/b a .")["stdout"]

    directory, *entries = output.split()
    assert entries == [".", ".."]
    assert not Path(directory).exists()


def test_what_lies_outside_of_the_directory_stays_even_where_a_link_leads_to_it(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("x")
    mode = tmp_path.stat().st_mode

    sh(f"ln -s {tmp_path} link; ln -s {tmp_path}/kept file")
    assert (tmp_path / "kept").read_text() == "x"
    assert tmp_path.stat().st_mode == mode


def test_only_the_programs_of_the_settings_may_run() -> None:
    allowed = settings("/bin/echo")

    assert run("/bin/echo", "x", section=allowed)["stdout"] == "x\n"
    for program in (SH, "/bin/../bin/echo", "/usr/bin/../bin/echo", "echo", "/bin/echo "):
        with pytest.raises(NodeRefusedError, match=r"plugins\.shell_programs"):
            run(program, section=allowed)


def test_an_exit_code_that_is_not_expected_fails_the_node() -> None:
    with pytest.raises(NodeFailedError, match="exit code 3: oh no"):
        sh("echo oh no >&2; exit 3")
    assert sh("exit 3", expect=[0, 3])["code"] == 3
    with pytest.raises(NodeFailedError, match="signal 15"):
        sh("kill -TERM $$")
    with pytest.raises(NodeFailedError, match="cannot be started: No such file"):
        run("/nowhere/at/all")


@pytest.mark.parametrize("stream", ["", ">&2"])
def test_a_flood_of_output_ends_the_program(stream: str) -> None:
    mark = mark_of(11)
    with pytest.raises(NodeFailedError, match="wrote more than 1000 bytes"):
        sh(f"sleep {mark} & while :; do echo flood {stream}; done", settings(shell_output_bytes=1000))
    until_gone(mark)


def test_a_program_that_takes_too_long_is_ended_with_all_that_it_started() -> None:
    mark = mark_of(12)
    with pytest.raises(NodeFailedError, match=r"longer than 0.5 s"):
        sh(f"sleep {mark} & setsid sleep {mark} & sleep {mark}", seconds=0.5)
    until_gone(mark)


def test_a_node_may_ask_for_less_time_and_never_for_more() -> None:
    with pytest.raises(NodeFailedError, match=r"longer than 0.3 s"):
        sh("sleep 60", settings(shell_seconds=0.3), seconds=1000)


def test_what_a_program_leaves_behind_is_ended_wherever_it_has_gone() -> None:
    mark = mark_of(13)
    left = f"sleep {mark} & setsid sleep {mark} & setsid sh -c 'setsid sleep {mark} & exit' & (sleep {mark} &)"

    assert sh(f"{left}; trap '' HUP TERM; nohup sleep {mark} >/dev/null 2>&1 & echo done")["stdout"] == "done\n"
    until_gone(mark)


def test_a_fork_bomb_is_bounded_and_leaves_nothing() -> None:
    mark = mark_of(14)
    bomb = f"bomb() {{ sleep {mark} & bomb | bomb & }}; bomb; sleep 1; exit 0"

    output = sh(bomb, settings(shell_processes=20, shell_output_bytes=10_000_000), expect=[0, 1, 2, 254])
    assert "fork" in output["stderr"].lower()
    until_gone(mark)


@pytest.mark.skipif(shutil.which("perl") is None, reason="perl is not installed")
def test_processes_that_fork_and_end_faster_than_one_can_look_are_ended() -> None:
    mark = mark_of(17)
    comet = "exit if fork; while (1) { setpgrp(0, 0); exit if fork; }"

    assert run("/usr/bin/env", shutil.which("perl") or "", "-e", comet, mark)["code"] == 0
    until_gone(mark)


def test_memory_files_and_their_size_are_bounded() -> None:
    # What tail shows of the end it has to keep in memory.
    with pytest.raises(NodeFailedError, match="memory exhausted"):
        sh("head -c 300000000 /dev/zero | tail -c 299999999 > /dev/null", settings(shell_memory_mb=128))
    assert sh("ulimit -n", settings(shell_files=32))["stdout"] == "32\n"
    output = sh("head -c 80000000 /dev/zero > f; wc -c < f")
    assert int(output["stdout"]) == 64 * 1024 * 1024


def test_no_program_becomes_more_than_its_user() -> None:
    output = sh("grep NoNewPrivs /proc/self/status; id -u; ulimit -c")["stdout"].split()

    assert output[1] == "1"
    assert output[2] != "0"
    assert output[3] == "0"


def test_a_node_that_should_end_ends_its_program() -> None:
    mark = mark_of(15)
    node = ShellNode(settings())
    with pytest.raises(TaskCancelledError):
        node.execute({"argv": ["/bin/sleep", mark]}, OneNode(TaskCancelledError("r-1", "ask")))
    until_gone(mark)


def test_a_worker_that_is_killed_leaves_no_program_and_no_directory() -> None:
    mark = mark_of(16)
    code = (
        "from tests.integration.test_shell_node import *\n"
        f"sh('setsid sleep {mark} & sleep {mark}', settings(shell_seconds=3600.0))\n"
    )
    root = Path(__file__).parents[2]
    worker = subprocess.Popen([sys.executable, "-c", code], cwd=root, start_new_session=True)
    try:
        end = time.monotonic() + PATIENCE_SECONDS
        while len(alive(mark)) < 2:
            assert time.monotonic() < end
            time.sleep(0.05)
        directory = Path(psutil.Process(alive(mark)[0]).cwd())
        assert directory.name.startswith("taskmesh-shell-")
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    until_gone(mark)
    while directory.exists():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_many_nodes_at_once_do_not_meet() -> None:
    outputs: dict[int, Any] = {}

    def one(number: int) -> None:
        outputs[number] = sh(f"echo {number} > f; sleep 0.2; cat f; ls")["stdout"]

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert outputs == {number: f"{number}\nf\n" for number in range(8)}


def test_a_worker_that_is_root_needs_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "name plugins.shell_user" in ShellNode.lacking(PluginsSection(shell_programs=("*",)))
    assert "there is no user" in ShellNode.lacking(PluginsSection(shell_user="no-such-user"))
    assert "is root" in ShellNode.lacking(PluginsSection(shell_user="root"))
    assert ShellNode.lacking(PluginsSection(shell_user="nobody")) == ""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "remove it" in ShellNode.lacking(PluginsSection(shell_user="nobody"))
    assert ShellNode.lacking(PluginsSection()) == ""
