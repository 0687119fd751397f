"""Other task queues, on the same servers with safe settings, each in an environment of its own."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmark.children import PROJECT
from scripts.benchmark.servers import Servers
from scripts.benchmark.systems.spec import Spec

CACHE = PROJECT / ".cache" / "bench-peers"
PYTHON_PACKAGES = (
    "celery[redis]==5.7.0",
    "dramatiq[rabbitmq,redis]==2.2.1",
    "taskiq==0.13.0",
    "taskiq-aio-pika==0.6.1",
    "taskiq-redis==1.2.4",
)
NODE_PACKAGES = ("bullmq@6.7.0", "ioredis@6.0.0")
BIN = CACHE / "venv" / "bin"
NODE_DIRECTORY = CACHE / "node"
SYSTEMS = "scripts.benchmark.systems"
# Where a result must not be counted with others' keys, a peer gets a database of its own.
RESULTS_DATABASE, STATE_DATABASE = 1, 2


class PeerUnavailableError(Exception):
    """A peer cannot be measured here; the message says why."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer: how it is installed and how it is started."""

    name: str
    install: Callable[[], None]
    spec: Callable[[Servers], Spec]


def install_python_peers() -> None:
    """Make the peers' virtual environment, once for each list of packages.

    :raises PeerUnavailableError: when pip fails.
    """
    stamp = _stamp("python", PYTHON_PACKAGES)
    if stamp.exists():
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    _install([sys.executable, "-m", "venv", str(CACHE / "venv")])
    _install([str(BIN / "python"), "-m", "pip", "install", "--quiet", *PYTHON_PACKAGES])
    stamp.touch()


def install_bullmq() -> None:
    """Install BullMQ, once for each version.

    :raises PeerUnavailableError: when Node.js or npm is missing, or the registry cannot be reached.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise PeerUnavailableError("Node.js and npm are not on this machine")
    stamp = _stamp("node", NODE_PACKAGES)
    if stamp.exists():
        return
    NODE_DIRECTORY.mkdir(parents=True, exist_ok=True)
    _install(["npm", "install", "--prefix", str(NODE_DIRECTORY), "--no-audit", "--no-fund", *NODE_PACKAGES])
    stamp.touch()


def _stamp(kind: str, packages: tuple[str, ...]) -> Path:
    """The file that says that these very packages have been installed."""
    return CACHE / f"{kind}-{hashlib.sha256(repr(packages).encode()).hexdigest()[:12]}"


def _install(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise PeerUnavailableError(f"{Path(command[0]).name} could not install it: {' '.join(reason)}")


def _environment(servers: Servers) -> dict[str, str]:
    return {
        "BENCH_BROKER_URL": servers.broker_url,
        "BENCH_RESULTS_URL": servers.database(RESULTS_DATABASE),
        "BENCH_STATE_URL": servers.database(STATE_DATABASE),
        "BENCH_NODE_DIRECTORY": str(NODE_DIRECTORY),
    }


def _python_driver(name: str) -> list[str]:
    return [str(BIN / "python"), "-m", f"{SYSTEMS}.{name}_driver"]


def celery(servers: Servers) -> Spec:
    options = ["--concurrency", "2", "--loglevel", "ERROR"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return Spec(
        "celery",
        workers=[[str(BIN / "celery"), "-A", f"{SYSTEMS}.celery_driver", "worker", *options, *quiet]],
        driver=_python_driver("celery"),
        sizes={"single": 4_000, "flows_of_9": 300, "fan_in": 1_000, "chain": None, "round_trip": 200},
        settings="2 prefork processes, classic durable queue, confirms, late acks, prefetch 16 each; flows are chords",
        env=_environment(servers),
    )


def dramatiq(servers: Servers) -> Spec:
    options = ["--processes", "2", "--threads", "8", "--skip-logging"]
    return Spec(
        "dramatiq",
        workers=[[str(BIN / "dramatiq"), f"{SYSTEMS}.dramatiq_driver", *options]],
        driver=_python_driver("dramatiq"),
        sizes={"single": 10_000, "flows_of_9": 500, "fan_in": 1_000, "chain": None, "round_trip": None},
        settings="2 processes of 8 threads, classic durable queue, confirms, acks after the result; "
        "flows are groups with a completion callback, whose join gets no results",
        env=_environment(servers),
    )


def taskiq(servers: Servers) -> Spec:
    options = ["--workers", "2", "--max-async-tasks", "100", "--ack-type", "when_saved", "--log-level", "ERROR"]
    return Spec(
        "taskiq",
        workers=[[str(BIN / "taskiq"), "worker", f"{SYSTEMS}.taskiq_driver:broker", *options]],
        driver=_python_driver("taskiq"),
        sizes={"single": 10_000, "chain": None, "round_trip": None},
        settings="2 processes, quorum queue, confirms, acks after the result; no flows, the client drives a chain",
        env=_environment(servers),
    )


def bullmq(servers: Servers) -> Spec:
    script = str(PROJECT / "scripts" / "benchmark" / "systems" / "bullmq_driver.mjs")
    return Spec(
        "bullmq",
        workers=[["node", script, "work"]] * 2,
        driver=["node", script],
        sizes={"single": None, "flows_of_9": None, "fan_in": None, "chain": None, "round_trip": None},
        settings="2 Node.js processes with concurrency 100, Redis only; flows are parents with children",
        env=_environment(servers),
    )


PEERS = (
    Peer("celery", install_python_peers, celery),
    Peer("dramatiq", install_python_peers, dramatiq),
    Peer("taskiq", install_python_peers, taskiq),
    Peer("bullmq", install_bullmq, bullmq),
)
