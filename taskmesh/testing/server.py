"""The Valkey of embedded mode, started once for all virtual meshes of a test process."""

from __future__ import annotations

from pathlib import Path

from taskmesh.clock import SystemClock
from taskmesh.store.embedded import EmbeddedServer
from taskmesh.store.link import Command, Link, value_of
from taskmesh.store.opening import open_link

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
KEYS_PER_SCAN = 1000


class VirtualServer:
    """A store that virtual meshes share, each in a namespace of its own. ``directory`` holds its data."""

    def __init__(self, directory: Path) -> None:
        """:raises StoreUnavailableError: it does not start."""
        self.embedded = EmbeddedServer(directory, SystemClock())
        self.embedded.acquire()
        self._meshes = 0

    def new_namespace(self) -> str:
        self._meshes += 1
        return f"test-{self._meshes}"

    def open_link(self) -> Link:
        return open_link(self.embedded.url, CONNECT_SECONDS, ANSWER_SECONDS)

    def forget(self, link: Link, namespace: str) -> None:
        """Delete what a mesh has left."""
        cursor = 0
        while True:
            scan = Command("", "SCAN", cursor, "MATCH", f"{namespace}:*", "COUNT", KEYS_PER_SCAN)
            [(cursor, keys)] = [value_of(reply) for reply in link.exchange([scan])]
            if keys:
                link.exchange([Command("", "UNLINK", *keys)])
            cursor = int(cursor)
            if not cursor:
                return

    def close(self) -> None:
        """Stop the server."""
        self.embedded.release()
