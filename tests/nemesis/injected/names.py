"""Host names of an experiment, which resolve, or do not, or slowly, as a file says that the experiment writes."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

NAMES = "TASKMESH_TEST_NAMES"
"""The environment variable with the file."""

DOMAIN = ".test"
RESOLVED, UNKNOWN = "resolved", "unknown"
"""What the file may say; or a number of seconds that each look-up takes."""

LOOK_SECONDS = 0.05


def arm() -> None:
    """Have names of the domain lead to this machine, where the environment names a file."""
    if NAMES in os.environ:
        socket.getaddrinfo = _instead_of(socket.getaddrinfo, Path(os.environ[NAMES]))


def _instead_of(right: Any, file: Path) -> Any:
    def resolve(host: Any, *arguments: Any, **named: Any) -> Any:
        if isinstance(host, str) and host.endswith(DOMAIN):
            _look_up(host, file)
            host = "127.0.0.1"
        return right(host, *arguments, **named)

    return resolve


def _look_up(host: str, file: Path) -> None:
    begun = time.monotonic()
    while (said := file.read_text()) not in (RESOLVED, UNKNOWN):
        if time.monotonic() - begun > float(said):
            return
        time.sleep(LOOK_SECONDS)
    if said == UNKNOWN:
        raise socket.gaierror(socket.EAI_NONAME, f"no such host: {host}")
