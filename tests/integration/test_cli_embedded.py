"""The command line as people use it, embedded: one command, no servers."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.harness.processes import Processes
from tests.integration.shell import TASKMESH, Shell

ROOT = Path(__file__).parents[2]
ORDER = str(ROOT / "configs" / "flows" / "order.yaml")

SLOW_APP = """
import time
from taskmesh import Mesh

mesh = Mesh()

@mesh.task
def hold() -> None:
    time.sleep(1)

@mesh.task
def never() -> None:
    raise AssertionError("the run was cancelled before")
"""

SLOW_FLOW = """
flow: slow
nodes:
  hold: {task: "slow_app:hold"}
  never: {task: "slow_app:never", needs: [hold]}
"""


def order(*options: str) -> Sequence[str]:
    return ("run", ORDER, "-A", "workers.orders", "-p", "order_id=o-1", *options)


def test_a_run_goes_to_its_end_and_is_known_afterwards(shell: Shell) -> None:
    shown = shell(*order("-p", "amount=9.5", "--id", "first", "--tag", "tenant=acme"))
    assert "✔ notify succeeded" in shown
    assert "critical path" in shown
    assert 'result: "order o-1 is on its way' in shown

    [row] = shell.json("ls")
    assert (row["run_id"], row["status"], row["nodes"], row["remaining"]) == ("first", "succeeded", 4, 0)
    assert row["tags"] == {"tenant": "acme"}

    document = shell.json("show", "first")
    assert sorted(document) == sorted(
        ["run_id", "flow", "version", "status", "submitted_at", "started_at", "finished_at", "nodes"]
    )
    assert {node["status"] for node in document["nodes"].values()} == {"succeeded"}
    assert sorted(document["nodes"]["ship"]) == sorted(
        ["status", "task", "attempts", "started_at", "finished_at", "worker", "output", "error"]
    )
    assert "tracking-" in shell("show", "first")


def test_a_run_is_run_once_for_each_id(shell: Shell) -> None:
    first = shell.json(*order("--id", "same"))
    second = shell.json(*order("--id", "same"))

    assert first["result"] == second["result"]
    assert first["nodes"] == second["nodes"]
    assert "exists already" in shell(*order("--id", "same", "-p", "amount=3"), code=2)


def test_a_run_that_fails_ends_with_one(shell: Shell) -> None:
    shown = shell(*order("-p", "amount=-1", "--id", "bad"), code=1)
    assert "✘ charge: ValueError" in shown
    assert "2 nodes did not run" in shown

    lines = [json.loads(line) for line in shell("watch", "bad", "-o", "json", code=1).splitlines()]
    assert lines[-1]["kind"] == "run"
    assert lines[-1]["state"] == "compensated"
    assert {line["node"] for line in lines[:-1]} == {"reserve", "charge", "ship", "notify", "undo:reserve"}
    assert shell.json("cancel", "bad") == {"run_id": "bad", "cancelled": False, "status": "compensated"}
    assert [row["run_id"] for row in shell.json("ls", "--status", "compensated")] == ["bad"]

    document = shell.json("show", "bad")
    assert (document["status"], document["cause"]) == ("compensated", "failed")
    assert document["nodes"]["reserve"]["undo"]["status"] == "succeeded"
    assert "undo" not in document["nodes"]["ship"]
    assert "undo:reserve" in shell("show", "bad")
    assert "is compensated; only one that has failed" in shell("compensate", "bad", code=2)
    assert shell.json("ls", "--status", "succeeded") == []


def test_a_submitted_run_waits_for_a_worker_and_can_be_cancelled(shell: Shell) -> None:
    submitted = shell.json(
        "submit", "workers.orders:reserve", "-A", "workers.orders", "-p", "order_id=x", "--id", "one"
    )
    assert submitted == {"run_id": "one", "flow": "workers.orders:reserve", "version": "1"}
    assert shell.json("show", "one")["nodes"]["task"]["status"] == "ready"
    assert shell.json("cancel", "one")["cancelled"]


def test_what_is_wrong_is_said_in_a_sentence(shell: Shell) -> None:
    assert "no run has the id 'nothing'" in shell("show", "nothing", code=2)
    said = shell("run", ORDER, "-A", "workers.orders", "-p", "amount=much", "-p", "colour=red", code=2)
    assert "parameter 'order_id' (string) is missing" in said
    assert "parameter 'amount' must be a number, not 'much'" in said
    assert "no parameter 'colour'" in said
    assert "not usable" in shell(*order("--id", "no good"), code=2)


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "o-\udcff"),
        ("cancel", "\udcff"),
        ("submit", "workers.orders:reserve", "-p", "order_id=\udcff"),
        ("events", "publish", "paid", "--data", '"\udcff"'),
    ],
)
def test_bytes_that_are_no_text_are_refused_in_a_sentence(arguments: Sequence[str], shell: Shell) -> None:
    error = shell(*arguments, code=2)

    assert "is no UTF-8: '" in error
    assert len(error.splitlines()) == 1


def test_an_empty_directory_has_no_runs(shell: Shell) -> None:
    assert shell("ls") == "no runs\n"
    assert shell("dead", "ls") == "no dead letters\n"
    assert shell.json("dead", "ls") == []


def test_a_run_is_worked_in_every_pool_of_its_flow(shell: Shell) -> None:
    (shell.directory / "pools.yaml").write_text(
        "flow: pools\nnodes:\n"
        '  here: {task: "workers.orders:reserve", args: {order_id: a}}\n'
        '  there: {task: "workers.orders:reserve", args: {order_id: b}, pool: io, needs: [here]}\n'
    )

    assert shell.json("run", "pools.yaml", "-A", "workers.orders")["status"] == "succeeded"


def test_a_task_on_its_own_is_refused_what_it_does_not_take(shell: Shell) -> None:
    target = ("workers.orders:reserve", "-A", "workers.orders")

    assert "missing the argument(s) 'order_id'" in shell("run", *target, "-p", "order=1", code=2)
    assert "takes no argument 'order'" in shell("submit", *target, "-p", "order_id=1", "-p", "order=1", code=2)
    assert shell("ls") == "no runs\n"


def test_a_place_that_cannot_hold_the_data_is_named(shell: Shell) -> None:
    (shell.directory / ".taskmesh").touch()

    said = shell("ls", code=2)
    assert "cannot keep its data in .taskmesh" in said
    assert "embedded.directory" in said


@pytest.mark.parametrize(
    ("option", "number", "status"),
    [
        ((), signal.SIGINT, "cancelled"),
        ((), signal.SIGTERM, "cancelled"),
        (("--keep",), signal.SIGINT, "running"),
    ],
)
def test_an_interrupted_run_is_cancelled_unless_it_is_kept(
    option: tuple[str, ...], number: signal.Signals, status: str, shell: Shell, child_processes: Processes
) -> None:
    (shell.directory / "slow_app.py").write_text(SLOW_APP)
    (shell.directory / "slow.yaml").write_text(SLOW_FLOW)
    command = [*TASKMESH, "run", "slow.yaml", "-A", "slow_app", "--id", "slow", *option]
    child = child_processes.start(command, cwd=shell.directory)
    child.wait_for_line("hold running")

    child.signal(number)

    assert child.wait(30) == 130
    assert "Traceback" not in child.output
    document = shell.json("show", "slow")
    assert document["nodes"]["never"]["status"] != "failed"
    assert document["status"] == status


def test_the_demo_needs_nothing(shell: Shell) -> None:
    facts = shell.json("demo")

    assert [run["status"] for run in facts["runs"]] == ["succeeded", "succeeded"]
    assert facts["nodes"] > 20
    report = Path(facts["report"])
    assert report.is_relative_to(shell.directory)
    assert "| .py |" in report.read_text()


def test_a_recorded_workflow_is_replayed(shell: Shell) -> None:
    names = [f"leaf{number}" for number in range(70)]
    tasks: list[dict[str, Any]] = [{"id": "split", "runtime": 1, "files": [file("split", 500)]}]
    tasks += [{"id": name, "parents": ["split"], "runtime": 2, "files": [file(name, 2_000)]} for name in names]
    tasks.append({"id": "join", "parents": names, "runtime": 3})
    recorded = shell.directory / "recorded.json"
    recorded.write_text(json.dumps({"name": "recorded", "workflow": {"tasks": tasks}}))

    shell("import", "wfcommons", "recorded.json", "-o", "flow.yaml")
    document = shell.json("run", "flow.yaml", "-A", "workers.replay")

    assert document["status"] == "succeeded"
    assert len(document["nodes"]) == 72
    assert len(document["nodes"]["leaf1"]["output"]["payload"]) == 2_000
    assert document["nodes"]["join"]["started_at"] >= max(document["nodes"][name]["finished_at"] for name in names)


def file(name: str, size: int) -> dict[str, Any]:
    return {"link": "output", "name": f"{name}.out", "sizeInBytes": size}


def test_the_doctor_finds_nothing_wrong_where_there_is_nothing(shell: Shell) -> None:
    text = shell("doctor")
    assert "✔ redis.durability" in text
    assert text.splitlines()[-1].endswith(" ok")
    document = shell.json("doctor")
    assert document["ok"]
    assert {each["severity"] for each in document["findings"]} == {"ok", "not checked"}
    assert all(each["mend"] for each in document["findings"] if each["severity"] != "ok")


def test_the_embedded_store_keeps_what_is_promised(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKMESH_STORE__DURABILITY", "always")
    found = {each["id"]: each for each in shell.json("doctor")["findings"]}
    assert "appendfsync is always" in found["redis.durability"]["what"]
    shell("run", ORDER, "-A", "workers.orders", "-p", "order_id=o-1")


def test_the_doctor_ends_with_1_for_what_breaks_a_promise_and_2_for_wrong_settings(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKMESH_BROKER_URL", "amqp://127.0.0.1:1")
    assert "broker.url is set" in shell("doctor", code=2)
    monkeypatch.setenv("TASKMESH_STORE_URL", "redis://127.0.0.1:1")
    found = {each["id"]: each["severity"] for each in shell.json("doctor", code=1)["findings"]}
    assert (found["redis.reachable"], found["rabbitmq.reachable"]) == ("broken", "broken")
    assert found["redis.durability"] == "not checked"
