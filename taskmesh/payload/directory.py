"""Large values in a directory of this machine, or of a file system that all machines share."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from taskmesh.payload.payloads import Payloads


class DirectoryPayloads(Payloads):
    """Files. What the library leaves to the file system is done here: to be on disk, and to be gone without rest."""

    def __init__(self, root: Path, url: str, namespace: str, max_bytes: int) -> None:
        from obstore.store import LocalStore

        super().__init__(LocalStore(root), url, namespace, max_bytes)
        self._root = root

    def contents(self, run_id: str) -> list[str]:
        """As of ``Payloads``, with what a process has left that was killed while it wrote."""
        directory = self._directory(run_id)
        with self._using(), contextlib.suppress(FileNotFoundError):
            return [f"{directory}/{entry.name}" for entry in os.scandir(self._root / directory)]
        return []

    def remove(self, run_id: str, paths: Sequence[str]) -> None:
        with self._using():
            for path in paths:
                (self._root / path).unlink(missing_ok=True)
            # Where somebody writes, it is not empty, and stays.
            with contextlib.suppress(OSError):
                (self._root / self._directory(run_id)).rmdir()

    def _make_durable(self, path: str) -> None:
        file = self._root / path
        for each in (file, file.parent, file.parent.parent):
            descriptor = os.open(each, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
