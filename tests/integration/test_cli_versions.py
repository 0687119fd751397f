"""Registered flows on the command line, embedded: push, run by name, compare, activate, roll back, archive."""

from __future__ import annotations

import json
import signal
import time
from contextlib import closing
from typing import Any

import pytest

from taskmesh import Mesh, load_flow
from tests.harness.processes import Processes
from tests.integration.shell import TASKMESH, Shell

FIRST = """
flow: order
params: {order_id: string}
nodes:
  reserve: {task: "workers.orders:reserve", args: {order_id: "${params.order_id}"}}
"""
SECOND = FIRST + '  more: {task: "workers.orders:reserve", args: {order_id: more}, needs: [reserve], timeout: 9s}\n'
WRONG = FIRST.replace("workers.orders:reserve", "workers.orders:reserv").replace("params.order_id", "params.id")
APP = ("-A", "workers.orders")


@pytest.fixture
def pushed(shell: Shell) -> Shell:
    """A directory with two versions of a flow, the first one active."""
    (shell.directory / "first.yaml").write_text(FIRST)
    (shell.directory / "second.yaml").write_text(SECOND)
    shell("flow", "push", "first.yaml", *APP, "-m", "the first", "--activate")
    shell("flow", "push", "second.yaml", *APP, "-m", "one more")
    return shell


def test_runs_keep_the_version_that_the_name_meant(pushed: Shell) -> None:
    for run_id, target in {"a": "order", "b": "order@2", "c": "order@latest"}.items():
        assert pushed("submit", target, "-p", "order_id=o", "--id", run_id) == f"{run_id}\n"
    assert pushed("flow", "activate", "order@2", "--reason", "tested") == "order@2 is active\n"
    assert pushed.json("run", "order", *APP, "-p", "order_id=o", "--id", "d")["status"] == "succeeded"
    pushed("submit", "second.yaml", *APP, "-p", "order_id=o", "--id", "e")

    documents = {run_id: pushed.json("show", run_id) for run_id in "abcde"}
    registered = {run_id: each["registered"] for run_id, each in documents.items()}
    assert registered == dict(zip("abcde", ["order@1", *["order@2"] * 4], strict=True))
    assert [len(each["nodes"]) for each in documents.values()] == [1, 2, 2, 2, 2]
    assert "order 1 (order@1), run a" in pushed("show", "a")


def test_what_is_archived_or_not_there_is_refused_by_name(pushed: Shell) -> None:
    submit = ("submit", "-p", "order_id=o")
    pushed("flow", "archive", "order@2")
    assert "order@2 is archived; `taskmesh flow restore order@2` takes it back" in pushed(*submit, "order@2", code=2)
    assert "order@1 is active and cannot be archived" in pushed("flow", "archive", "order@1", code=2)
    assert "no version 7" in pushed(*submit, "order@7", code=2)
    assert "there is no file ordr, and no flow 'ordr' is registered; did you mean 'order'?" in pushed(
        *submit, "ordr", code=2
    )
    assert pushed("flow", "restore", "order@2") == "order@2 is inactive\n"
    pushed(*submit, "order@2")


def test_what_is_wrong_is_told_at_once_and_nothing_is_stored(shell: Shell) -> None:
    (shell.directory / "wrong.yaml").write_text(WRONG)
    said = shell("flow", "push", "wrong.yaml", *APP, code=2)
    assert "wrong.yaml:5:19: node 'reserve': task 'workers.orders:reserv' is not registered; did you mean" in said
    assert "wrong.yaml:5:" in said.splitlines()[1]
    assert "refers to params.id, which the flow does not declare" in said
    assert shell("flow", "ls") == "no flows are registered\n"


def test_a_push_without_an_app_says_what_was_not_checked(shell: Shell) -> None:
    (shell.directory / "first.yaml").write_text(FIRST)
    pushed = shell.json("flow", "push", "first.yaml", "--draft")
    assert (pushed["number"], pushed["state"], pushed["new"]) == (1, "draft", True)
    assert pushed["unchecked_tasks"] == ["workers.orders:reserve"]
    again = shell.json("flow", "push", "first.yaml")
    assert (again["number"], again["state"], again["new"]) == (1, "draft", False)
    # What the task says, here of its undo, is part of the version.
    checked = shell.json("flow", "push", "first.yaml", *APP)
    assert (checked["number"], checked["state"], checked["new"], checked["unchecked_tasks"]) == (
        2,
        "inactive",
        True,
        [],
    )


def test_differences_are_told_and_end_with_one(pushed: Shell) -> None:
    expected = {"task": "workers.orders:reserve", "needs": ["reserve"], "args": {"order_id": "more"}, "timeout": 9.0}
    told = pushed.json("flow", "diff", "order@1", "order@2", code=1)
    [difference] = told["differences"]
    assert not told["equal"]
    assert (difference["path"], difference["change"], difference["before"]) == (["nodes", "more"], "added", None)
    assert expected.items() <= difference["after"].items()
    assert pushed("flow", "diff", "order@2", "first.yaml", *APP, code=1).startswith("- nodes.more: {")
    assert pushed("flow", "diff", "order", "first.yaml", *APP) == "no difference\n"
    assert "no version 9" in pushed("flow", "diff", "order@9", "first.yaml", code=2)


def test_a_version_is_shown_as_a_file_that_reads_back(pushed: Shell) -> None:
    text = pushed("flow", "show", "order@2")
    assert text.startswith("# order@2 (inactive), pushed ")
    (pushed.directory / "again.yaml").write_text(text)
    assert load_flow(text, "again.yaml").nodes[1].limits.start_to_close == 9.0
    assert not pushed.json("flow", "push", "again.yaml", *APP)["new"]
    assert pushed.json("flow", "show", "order")["definition"]["flow"] == "order"


def test_activations_are_listed_logged_and_rolled_back(pushed: Shell) -> None:
    assert "order@1 is active, but order@2 was expected" in pushed(
        "flow", "activate", "order@2", "--if-active", "2", code=2
    )
    pushed("flow", "activate", "order@2", "--if-active", "1", "--reason", "tested")
    assert pushed("flow", "rollback", "order", "--reason", "was bad") == "order@1 is active\n"
    assert pushed.json("flow", "ls") == [{"name": "order", "active": 1, "latest": 2}]
    assert [(each["number"], each["state"]) for each in pushed.json("flow", "ls", "order")] == [
        (2, "inactive"),
        (1, "active"),
    ]
    log = [(each["kind"], each["number"], each["before"], each["why"]) for each in pushed.json("flow", "log", "order")]
    assert log == [
        ("rollback", 1, 2, "was bad"),
        ("activate", 2, 1, "tested"),
        ("push", 2, None, "one more"),
        ("activate", 1, None, "the first"),
        ("push", 1, None, "the first"),
    ]
    assert "was bad" in pushed("flow", "log", "order")


def test_the_graph_of_a_registered_flow(pushed: Shell) -> None:
    assert set(json.loads(pushed("graph", "order@2", "--format", "json"))["nodes"]) >= {"reserve", "more"}
    assert "order@2 is valid" in pushed("validate", "order@2", *APP)


def test_a_worker_registers_flow_files_as_they_change(shell: Shell, child_processes: Processes) -> None:
    folder = shell.directory / "flows"
    folder.mkdir()
    (folder / "order.yaml").write_text(FIRST)
    (shell.directory / "taskmesh.toml").write_text("[flows]\nactivate = true\n")
    command = [*TASKMESH, "worker", *APP, "--flows", "flows", "--health-port", "0"]
    worker = child_processes.start(command, cwd=shell.directory)
    worker.wait_for_line("activated from flow files: order@1")

    wrong = WRONG.replace("flow: order", "flow: wrong")
    (folder / "wrong.yaml").write_text(wrong)
    worker.wait_for_line("nothing of the flow files is registered: flows/wrong.yaml:5:19: node 'reserve': task ")
    (folder / "order.yaml").write_text(SECOND)
    # What is read now has been changed after the other file.
    (folder / "wrong.yaml").write_text(f"\n{wrong}")
    worker.wait_for_line("nothing of the flow files is registered: flows/wrong.yaml:6:19: node 'reserve': task ")
    assert shell.json("flow", "ls") == [{"name": "order", "active": 1, "latest": 1}]

    (folder / "wrong.yaml").unlink()
    worker.wait_for_line("activated from flow files: order@2")
    assert shell.json("flow", "ls") == [{"name": "order", "active": 2, "latest": 2}]
    worker.signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert "Traceback" not in worker.output


def test_a_worker_inside_an_app_registers_flow_files(shell: Shell) -> None:
    file = shell.directory / "order.yaml"
    file.write_text("flow: order\nnodes:\n  one: {task: app:one}\n")
    flows = {"paths": [str(file)], "activate": True}
    mesh = Mesh(embedded={"directory": str(shell.directory / ".taskmesh")}, flows=flows)
    mesh.task(name="app:one")(one)
    with closing(mesh), mesh.local_worker(watch_flows=True):
        assert active_within(60, mesh) == 1
        file.write_text("flow: order\nnodes:\n  one: {task: app:one}\n  two: {task: app:one, needs: [one]}\n")
        assert active_within(60, mesh, not_number=1) == 2
        assert mesh.submit("order").result(timeout=60) == 1


def one() -> int:
    return 1


def active_within(seconds: float, mesh: Mesh, not_number: int | None = None) -> int | None:
    deadline = time.monotonic() + seconds
    while (active := mesh.flows.active("order")) in (None, not_number) and time.monotonic() < deadline:
        time.sleep(0.05)
    return active


def test_a_worker_takes_settings_over_while_it_runs_or_refuses_all_of_them(
    shell: Shell, child_processes: Processes
) -> None:
    file = shell.directory / "taskmesh.toml"
    file.write_text('[log]\nlevel = "info"\n')
    worker = child_processes.start([*TASKMESH, "worker", *APP, "--health-port", "0"], cwd=shell.directory)
    worker.wait_for_line("health and metrics on")
    file.write_text('[log]\nformat = "json"\n')
    worker.wait_for_line('"message": "settings taken over: log.format"')
    file.write_text('[log]\nlevel = "debug"\n[worker]\nlease_seconds = 20.0\n')
    worker.wait_for_line("are not taken over: worker.lease_seconds has changed, which takes a restart of this worker")
    deadline = time.monotonic() + 60
    while "settings.taken_over" not in (findings := findings_of(shell)):
        assert time.monotonic() < deadline, findings
    assert findings["settings.taken_over"]["severity"] == "warning"
    assert findings["settings.revision"]["what"].startswith("1 processes run with the live settings ")
    file.write_text('[log]\nformat = "json"\n')
    worker.wait_for_line('"message": "settings taken over: they are as they were"')
    worker.signal(signal.SIGTERM)
    assert worker.wait(60) == 0


def findings_of(shell: Shell) -> dict[str, Any]:
    return {each["id"]: each for each in shell.json("doctor")["findings"]}


def test_the_doctor_reads_the_flow_files(shell: Shell) -> None:
    (shell.directory / "first.yaml").write_text(FIRST)
    (shell.directory / "taskmesh.toml").write_text('[flows]\npaths = ["first.yaml"]\n')
    assert findings_of(shell)["flows.files"]["severity"] == "ok"
    (shell.directory / "first.yaml").write_text(WRONG)
    finding = findings_of(shell)["flows.files"]
    assert finding["severity"] == "warning"
    assert finding["what"].startswith("first.yaml:5:")
