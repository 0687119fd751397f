"""A memory limit of the kernel's own (cgroup v1 or v2) around a worker."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from tests.nemesis.not_here import NotHereError

V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


@contextlib.contextmanager
def memory_limit(pid: int, megabytes: int) -> Iterator[None]:
    """Put a process, and what it starts from now on, into a group that may use so much.

    :raises NotHereError: this machine does not let us make groups.
    """
    group = _group_of(pid)
    try:
        group.mkdir()
        limit = "memory.limit_in_bytes" if _is_v1() else "memory.max"
        (group / limit).write_text(str(megabytes << 20))
        join_limit(pid, pid)
    except OSError as error:
        raise NotHereError(f"no memory limits can be set here ({error.strerror})") from None
    try:
        yield
    finally:
        _empty(group)


def join_limit(owner: int, pid: int) -> None:
    """Put another process into the group of ``owner``."""
    (_group_of(owner) / "cgroup.procs").write_text(str(pid))


def _group_of(pid: int) -> Path:
    return (V1 if _is_v1() else V2) / f"taskmesh-{pid}"


def _is_v1() -> bool:
    return (V1 / "memory.limit_in_bytes").exists()


def _empty(group: Path) -> None:
    """Hand what is left in the group to the one above it, and remove it."""
    for pid in (group / "cgroup.procs").read_text().split():
        with contextlib.suppress(OSError):
            (group.parent / "cgroup.procs").write_text(pid)
    with contextlib.suppress(OSError):
        os.rmdir(group)
