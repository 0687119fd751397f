"""Live settings that are pushed to all workers, embedded: all of them take a push over, or nobody does."""

from __future__ import annotations

import re
import signal
import time
from typing import Any

import pytest

from tests.harness.processes import Process, Processes
from tests.integration.shell import TASKMESH, Shell

WORKER = (*TASKMESH, "worker", "-A", "workers.orders", "--processes", "1", "--health-port", "0")
KEEPER = (*TASKMESH, "keeper", "--health-port", "0")
LIVE = """
[log]
level = "debug"
[worker]
drain_seconds = 5
"""
WRONG = """
[log]
level = "loud"
format = "json"
[worker]
threads = 4
drain_second = 6
"""


@pytest.fixture
def live(shell: Shell) -> Shell:
    """A directory with a file of live settings, and one whose settings cannot be pushed."""
    (shell.directory / "live.toml").write_text(LIVE)
    (shell.directory / "wrong.toml").write_text(WRONG)
    return shell


def taken_over(process: Process, number: int, what: str) -> None:
    process.wait_for_line(re.escape(f"pushed settings, revision {number}, taken over: {what}"), 60)


def held_within(seconds: float, shell: Shell, processes: int, number: int) -> None:
    """Wait until so many processes say that they hold a revision."""
    deadline = time.monotonic() + seconds
    while (held := held_by(shell)) != [number] * processes:
        assert time.monotonic() < deadline, held


def held_by(shell: Shell) -> list[int]:
    return [each["pushed"] for each in shell.json("config", "workers").values()]


def finding(shell: Shell, id_: str) -> Any:
    return next((each for each in shell.json("doctor")["findings"] if each["id"] == id_), None)


def test_a_push_reaches_all_workers_and_a_bad_one_reaches_none(live: Shell, child_processes: Processes) -> None:
    keeper = child_processes.start(KEEPER, cwd=live.directory)
    plain = child_processes.start(WORKER, cwd=live.directory)
    own = child_processes.start(WORKER, cwd=live.directory, env={"TASKMESH_WORKER__DRAIN_SECONDS": "9"})
    running = [keeper, plain, own]
    for each in running:
        each.wait_for_line("health and metrics on")

    pushed = live("config", "push", "live.toml", "-m", "look closer")
    assert pushed == "pushed revision 1: log.level = 'debug', worker.drain_seconds = 5.0\n"
    taken_over(keeper, 1, "worker.drain_seconds, log.level")
    taken_over(plain, 1, "worker.drain_seconds, log.level")
    taken_over(own, 1, "log.level")

    said = live("config", "push", "wrong.toml", code=2)
    assert said.splitlines() == [
        "taskmesh: log.level = 'loud' (wrong.toml): must be one of debug, info, warning, error",
        "worker.threads (wrong.toml): takes a restart of each worker, so it cannot be pushed; leave it out",
        "worker.drain_second (wrong.toml): no such setting; did you mean worker.drain_seconds?",
    ]
    later = child_processes.start(WORKER, cwd=live.directory)
    running.append(later)
    taken_over(later, 1, "worker.drain_seconds, log.level")
    held_within(60, live, 4, 1)
    assert [each["number"] for each in live.json("config", "log")] == [1]
    assert finding(live, "settings.pushed")["what"] == "4 processes hold revision 1 of the pushed settings"

    assert live("config", "unset", "--if-newest", "1") == "pushed revision 2: none, each worker has its own\n"
    taken_over(plain, 2, "worker.drain_seconds, log.level")
    live("config", "rollback", "1", "-m", "once more")
    for each in running:
        taken_over(each, 3, "log.level" if each is own else "worker.drain_seconds, log.level")
    # What a worker tells while it drains is the time that holds for it.
    for each in running:
        each.signal(signal.SIGTERM)
    plain.wait_for_line("draining for up to 5 s")
    own.wait_for_line("draining for up to 9 s")
    assert [each.wait(60) for each in running] == [0, 0, 0, 0]
    assert all("Traceback" not in each.output for each in running)


def test_what_holds_and_where_it_comes_from_is_shown(live: Shell) -> None:
    assert live.json("config", "show")["log.level"] == {"value": "'info'", "origin": "default"}
    assert not (live.directory / ".taskmesh").exists(), "to look makes no store"
    (live.directory / "taskmesh.toml").write_text('[log]\nlevel = "error"\nformat = "json"\n')
    live("config", "push", "live.toml", "--set", "log.level=warning", "-m", "quieter")
    shown = live.json("config", "show")
    assert shown["log.level"] == {"value": "'warning'", "origin": "pushed, revision 1"}
    assert shown["log.format"] == {"value": "'json'", "origin": "taskmesh.toml"}
    assert "pushed to all workers: revision 1 (push, " in live("config", "show")
    live("config", "push", "--set", "flows.activate=true")
    assert live.json("config", "log")[0]["values"] == {
        "flows.activate": True,
        "log.level": "warning",
        "worker.drain_seconds": 5.0,
    }
    assert "quieter" in live("config", "log")
    live("config", "unset")
    assert live.json("config", "show")["log.level"] == {"value": "'error'", "origin": "taskmesh.toml"}
    assert "no worker and no keeper tells anything" in live("config", "workers")


def test_what_cannot_be_done_is_refused_with_a_sentence(live: Shell) -> None:
    assert "name a file, or give --set KEY=VALUE" in live("config", "push", code=2)
    assert "--watch goes with a file" in live("config", "push", "--set", "log.level=debug", "--watch", code=2)
    assert "store.url (--set): takes a restart" in live("config", "push", "--set", "store.url=redis://h", code=2)
    assert "there is no revision 1 of the pushed settings: nothing was ever pushed" in live(
        "config", "rollback", "1", code=2
    )
    refused = live("config", "push", "live.toml", "--if-newest", "4", code=2)
    assert "nothing was ever pushed, but 4 was expected: somebody else has changed it; nothing was done" in refused


def test_a_file_that_is_watched_is_pushed_as_it_changes(live: Shell, child_processes: Processes) -> None:
    file = live.directory / "live.toml"
    command = [*TASKMESH, "config", "push", "live.toml", "--watch"]
    watching = child_processes.start(command, cwd=live.directory)
    watching.wait_for_line("watching live.toml; Ctrl-C ends it")
    file.write_text(WRONG)
    watching.wait_for_line(r"nothing is pushed: log\.level = 'loud' \(live\.toml\): must be one of")
    file.write_text(LIVE.replace("debug", "error"))
    watching.wait_for_line("pushed revision 2: log.level = 'error', worker.drain_seconds = 5.0")
    watching.signal(signal.SIGINT)
    assert watching.wait(60) == 130
    assert "Traceback" not in watching.output
    assert [each["number"] for each in live.json("config", "log")] == [2, 1]
