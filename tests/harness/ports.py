"""Free ports on loopback."""

from __future__ import annotations

import random
import socket

# Below the range that the kernel hands to outgoing connections: a client that connects again and again to a
# server that is down could otherwise be given the server's own port, and the server could not come back.
LOWEST, HIGHEST = 10_000, 32_000


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    for _ in range(1_000):
        port = random.randint(LOWEST, HIGHEST)
        if is_free(port):
            return port
    raise RuntimeError(f"no free port between {LOWEST} and {HIGHEST} on 127.0.0.1")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
