"""The command line against real servers: a worker in one process, the commands in others."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.harness.ports import free_port
from tests.harness.processes import Process, Processes

ROOT = Path(__file__).parents[2]
ORDER = str(ROOT / "configs" / "flows" / "order.yaml")
TASKMESH = (sys.executable, "-c", "from taskmesh.cli import main; main()")


@pytest.fixture
def servers(rabbitmq_url: str, redis_url: str, namespace: str) -> Mapping[str, str]:
    return {
        "TASKMESH_BROKER_URL": rabbitmq_url,
        "TASKMESH_STORE_URL": redis_url,
        "TASKMESH_NAMESPACE": namespace,
        "PYTHONPATH": str(ROOT),
    }


def start_worker(processes: Processes, servers: Mapping[str, str], directory: Path) -> Process:
    port = free_port()
    options = ("--processes", "1", "--threads", "2", "--health-port", str(port))
    worker = processes.start([*TASKMESH, "worker", "-A", "workers.orders", *options], servers, directory)
    worker.wait_for(lambda: is_ready(port), "readiness", 60)
    return worker


def is_ready(port: int) -> bool:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False


def test_commands_and_a_worker_meet_at_the_servers(
    servers: Mapping[str, str], child_processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in servers.items():
        monkeypatch.setenv(name, value)

    def ask(*arguments: str) -> Any:
        command = [*TASKMESH, *arguments, "-o", "json"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return (
            [json.loads(line) for line in done.stdout.splitlines()]
            if arguments[0] == "watch"
            else json.loads(done.stdout)
        )

    worker = start_worker(child_processes, servers, tmp_path)

    submitted = ask("submit", ORDER, "-p", "order_id=o-1", "--id", "far")
    assert submitted["run_id"] == "far"
    assert ask("watch", "far")[-1]["state"] == "succeeded"
    ran = ask("run", ORDER, "-A", "workers.orders", "-p", "order_id=o-2")
    assert ran["result"].startswith("order o-2 is on its way")
    assert {row["status"] for row in ask("ls")} == {"succeeded"}
    assert not (tmp_path / ".taskmesh").exists()
    found = {each["id"]: each["severity"] for each in ask("doctor")["findings"]}
    assert found["broker.delivery"] == found["rabbitmq.queues"] == found["redis.durability"] == "ok"

    assert worker.terminate(40) == 0


def test_a_run_without_a_worker_is_told_what_to_ask(
    servers: Mapping[str, str], child_processes: Processes, tmp_path: Path
) -> None:
    command = [*TASKMESH, "run", ORDER, "-p", "order_id=o-1", "--id", "lonely"]
    waiting = child_processes.start(command, servers, tmp_path)
    waiting.wait_for_line("nothing of run lonely has begun; `taskmesh explain lonely` says", timeout_seconds=60)
    assert waiting.running
    waiting.signal(signal.SIGINT)
    waiting.wait_for_line("cancelling run lonely", timeout_seconds=30)
