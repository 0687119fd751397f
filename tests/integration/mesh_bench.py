"""Workers, a mesh and the effects of its tasks, for tests on real servers."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from taskmesh import Mesh
from tests.harness.ports import free_port
from tests.harness.processes import Process, Processes
from tests.integration import engine_app

LEASE_SECONDS = 3.0
APP = "tests.integration.engine_app"


@dataclass(frozen=True, slots=True)
class Effect:
    """One line that a task wrote."""

    word: str
    run_id: str
    node: str
    attempt: int
    pid: int
    at: float


class MeshBench:
    """A mesh on given servers, and workers to kill."""

    def __init__(self, servers: Mapping[str, str], namespace: str, children: Processes, directory: Path) -> None:
        self._children = children
        self._effects = directory / "effects"
        self.environ = {
            "TASKMESH_NAMESPACE": namespace,
            "TASKMESH_BROKER_URL": servers["broker"],
            "TASKMESH_STORE_URL": servers["store"],
            "TASKMESH_WORKER__LEASE_SECONDS": str(LEASE_SECONDS),
            "TASKMESH_STORE__SOCKET_TIMEOUT_SECONDS": "1",
            "TASKMESH_BROKER__SHARDS": "4",
            "TASKMESH_TEST_EFFECTS": str(self._effects),
        }
        # The bench's tasks are those of the module; the mesh is of this test alone.
        self.mesh = Mesh(
            namespace=namespace,
            broker={"url": servers["broker"], "shards": 4},
            store={"url": servers["store"]},
        )
        self.mesh.registry = engine_app.mesh.registry

    def worker(
        self, *arguments: str, app: str = APP, ready: bool = True, env: Mapping[str, str] | None = None
    ) -> Worker:
        port = free_port()
        words = ("worker", "-A", app, "--processes", "2", "--health-port", str(port), *arguments)
        worker = Worker(self._children.python("taskmesh", *words, env={**self.environ, **(env or {})}), port)
        if ready:
            worker.wait_ready()
        return worker

    def keeper(self, env: Mapping[str, str] | None = None) -> Worker:
        port = free_port()
        command = ("keeper", "--health-port", str(port))
        keeper = Worker(self._children.python("taskmesh", *command, env={**self.environ, **(env or {})}), port)
        keeper.wait_ready()
        return keeper

    def command(self, *words: str) -> Process:
        """A command of taskmesh on the same servers."""
        return self._children.python("taskmesh", *words, env=self.environ)

    def effects(self, word: str | None = None) -> list[Effect]:
        if not self._effects.exists():
            return []
        lines = (line.split(" ") for line in self._effects.read_text().splitlines())
        effects = [Effect(w, run, node, int(attempt), int(pid), float(at)) for w, run, node, attempt, pid, at in lines]
        return [effect for effect in effects if word in (None, effect.word)]

    def times_run(self, word: str | None = None) -> Counter[tuple[str, str]]:
        return Counter((effect.run_id, effect.node) for effect in self.effects(word))


class Worker:
    """A worker process tree."""

    def __init__(self, process: Process, port: int, host: str = "127.0.0.1") -> None:
        self.process = process
        self.port = port
        self._host = host

    def wait_ready(self, timeout_seconds: float = 90.0) -> None:
        self.process.wait_for(lambda: self.get("/readyz")[0] == 200, "readiness", timeout_seconds)

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self._host}:{self.port}{path}", timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        lines = [line for line in self.get("/metrics")[1].splitlines() if line.startswith(f"taskmesh_{name}")]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def children(self, module: str) -> list[int]:
        """The process ids below this worker that run a module."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _runs(entry, module) and self.process.pid in _ancestors(int(entry.name)):
                found.append(int(entry.name))
        return found


def _runs(entry: Path, module: str) -> bool:
    try:
        return module.encode() in (entry / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def _ancestors(pid: int) -> list[int]:
    chain = []
    while pid > 1:
        chain.append(pid)
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
    return chain


def kill9(pid: int) -> None:
    os.kill(pid, 9)
