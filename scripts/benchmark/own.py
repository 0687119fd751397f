"""taskmesh as one of the systems that are measured."""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.benchmark.servers import Servers
from scripts.benchmark.systems.spec import Spec
from scripts.benchmark.workloads import WORKLOADS

PROCESSES = 2
PROFILING = Path(__file__).parent / "profiling"
DRIVER = "scripts.benchmark.systems.taskmesh_driver"


def taskmesh(servers: Servers, io_processes: int, montage: Path | None, profile: Path | None) -> Spec:
    """A worker with two executor processes and so many I/O processes; ``profile`` is a directory for profiles."""
    env = {
        "TASKMESH_BROKER_URL": servers.broker_url,
        "TASKMESH_STORE_URL": servers.redis_url,
        "TASKMESH_WORKER__HEALTH_PORT": "0",
    }
    if profile is not None:
        env |= {"PYTHONPATH": str(PROFILING), "BENCH_PROFILE_DIRECTORY": str(profile)}
    worker = ["-m", "taskmesh", "worker", "-A", "scripts.benchmark.app:mesh"]
    return Spec(
        f"taskmesh-io{io_processes}",
        workers=[[sys.executable, *worker, "--processes", str(PROCESSES), "--io-processes", str(io_processes)]],
        driver=[sys.executable, "-m", DRIVER, *(["--montage", str(montage)] if montage else [])],
        sizes={workload.name: None for workload in WORKLOADS},
        settings=f"{PROCESSES} executor processes, {io_processes} I/O process{'es'[: 2 * (io_processes > 1)]}, "
        "8 quorum shards, confirms, acks after the settled outcome",
        env=env,
    )
