"""A limit to the memory of an executor process, which the kernel keeps: an allocation beyond it is a MemoryError.

RLIMIT_DATA bounds what is private and writable: the heap, and memory that was asked of the system for it, touched or
not. It leaves out what RLIMIT_AS would count against a process that only maps much, as libraries and shared files.
"""

from __future__ import annotations

import resource
import sys

from taskmesh.errors import UsageError

MEBIBYTE = 1024 * 1024


def refuse_where_unkept(limit_mb: int) -> None:
    """:raises UsageError: a limit is wished for, and the kernel would not keep it."""
    if limit_mb and not sys.platform.startswith("linux"):
        raise UsageError(
            "worker.executor_memory_mb can only be kept by Linux; set it to 0 here, and limit the memory of the worker "
            "by other means"
        )


def cap_own_memory(limit_mb: int) -> None:
    """Bound this process, and each process that it starts by itself."""
    limit = limit_mb * MEBIBYTE
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
