"""A mesh whose large values are put aside, into a directory of the test."""

from __future__ import annotations

import time
from pathlib import Path

from taskmesh import Mesh
from tests.integration import payload_app as app
from tests.integration.mesh_bench import MeshBench, Worker

PATIENCE_SECONDS = 90.0
APP = "tests.integration.payload_app"
THRESHOLD_BYTES = 65_536


class Aside:
    """A mesh, and workers, that put what is larger than 64 KiB aside, into a directory of the test."""

    def __init__(self, bench: MeshBench, directory: Path, retention_seconds: int = 3600) -> None:
        self._bench = bench
        self.directory = directory
        environ = bench.environ
        self.mesh = Mesh(
            namespace=environ["TASKMESH_NAMESPACE"],
            broker={"url": environ["TASKMESH_BROKER_URL"], "shards": 4},
            store={"url": environ["TASKMESH_STORE_URL"]},
            payload={"url": directory.as_uri(), "claim_check_bytes": THRESHOLD_BYTES},
        )
        self.mesh.registry = app.mesh.registry
        self._env = {
            "TASKMESH_PAYLOAD__URL": directory.as_uri(),
            "TASKMESH_PAYLOAD__CLAIM_CHECK_BYTES": str(THRESHOLD_BYTES),
            "TASKMESH_STORE__RETENTION_SECONDS": str(retention_seconds),
        }

    def worker(self, **env: str) -> Worker:
        return self._bench.worker(app=APP, env={**self._env, **env})

    def files(self) -> list[Path]:
        return [path for path in self.directory.rglob("*") if path.is_file() and path.name != "owner"]

    def wait_for_files(self, count: int) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(self.files()) != count:
            assert time.monotonic() < deadline, f"there are {len(self.files())} files, not {count}"
            time.sleep(0.05)
