"""What this machine must be like, and which settings do not fit together or fit it badly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from taskmesh.config.settings import Settings
from taskmesh.model.checkup.findings import Finding, Severity, well

FILES_PER_PROCESS = 128
FILES_PER_EXECUTOR = 4
"""Files that an I/O process has open: interpreter, log and servers, and the channels of each executor."""

LOW_DISK_BYTES = 512 * 2**20
NO_DISK_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """``open_files`` is the limit of a process (-1 = none). ``disk_free_bytes`` is that of the embedded store."""

    open_files: int
    disk_free_bytes: int | None = None


def judge_machine(facts: MachineFacts, settings: Settings) -> Iterator[Finding]:
    """The limits of this machine against what the settings make of it."""
    yield _open_files(facts, settings)
    if facts.disk_free_bytes is not None:
        yield _disk(facts.disk_free_bytes, settings.embedded.directory)


def _open_files(facts: MachineFacts, settings: Settings) -> Finding:
    worker = settings.worker
    needed = FILES_PER_PROCESS + FILES_PER_EXECUTOR * -(-worker.executors // worker.io_processes)
    if facts.open_files < 0 or facts.open_files >= needed:
        return well("machine.files", f"a process may open {facts.open_files} files; a worker needs about {needed}")
    return Finding(
        "machine.files",
        Severity.BROKEN,
        f"a process may open {facts.open_files} files, but a worker with {worker.executors} executors needs {needed}",
        f"ulimit -n {needed * 2} (systemd: LimitNOFILE=), or more worker.io_processes",
    )


def _disk(free_bytes: int, directory: str) -> Finding:
    said = f"{free_bytes // 2**20:,} MiB are free where {directory} is"
    if free_bytes >= LOW_DISK_BYTES:
        return well("machine.disk", said)
    severity = Severity.BROKEN if free_bytes < NO_DISK_BYTES else Severity.WARNING
    return Finding("machine.disk", severity, said, "free some, or set embedded.directory to another disk")


def judge_settings(settings: Settings) -> Iterator[Finding]:
    """What is allowed and yet does not fit together. What contradicts itself is refused when settings are read."""
    findings = [*_lease(settings), *_executors(settings), *_prefetch(settings)]
    yield from findings or [well("settings.fit", "the settings fit together")]
    worker = settings.worker
    yield Finding(
        "settings.grace",
        Severity.UNCHECKED,
        f"whether what stops a worker waits for it; it may take {worker.grace_seconds:g} s",
        f"Kubernetes: terminationGracePeriodSeconds: {worker.grace_seconds:.0f}; "
        f"systemd: TimeoutStopSec={worker.grace_seconds:.0f}",
    )


def _lease(settings: Settings) -> Iterator[Finding]:
    worker, store = settings.worker, settings.store
    # A renewal that times out is followed by one that has to connect first.
    slowest = worker.renewal_seconds + store.connect_timeout_seconds + 2 * store.socket_timeout_seconds
    if slowest > worker.lease_seconds:
        yield Finding(
            "settings.lease",
            Severity.WARNING,
            f"one timeout and a new connection to the store may take {slowest:g} s, longer than "
            f"worker.lease_seconds = {worker.lease_seconds:g}: nodes would be run twice",
            "raise worker.lease_seconds, or lower store.socket_timeout_seconds and store.connect_timeout_seconds",
        )


def _executors(settings: Settings) -> Iterator[Finding]:
    worker = settings.worker
    if worker.executors < worker.io_processes:
        yield Finding(
            "settings.executors",
            Severity.WARNING,
            f"worker.io_processes is {worker.io_processes}, and each has an executor of its own, "
            f"so {worker.io_processes} run and not {worker.executors}",
            "lower worker.io_processes, or raise worker.processes",
        )


def _prefetch(settings: Settings) -> Iterator[Finding]:
    worker, broker = settings.worker, settings.broker
    room = -(-worker.executors // worker.io_processes) * worker.threads
    if broker.prefetch and broker.prefetch * broker.shards < room:
        yield Finding(
            "settings.prefetch",
            Severity.WARNING,
            f"an I/O process runs {room} tasks at once, but broker.prefetch = {broker.prefetch} lets it hold only "
            f"{broker.prefetch * broker.shards} messages of a pool: executors stand idle",
            f"set broker.prefetch to {-(-room // broker.shards)} or more, or to 0",
        )
