"""A disk of a few megabytes, which can be filled."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.nemesis.not_here import NotHereError


class SmallDisk:
    """A file system in memory of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Leave no room at all."""
        with contextlib.suppress(OSError), self._ballast.open("wb", buffering=0) as ballast:
            for size in (65_536, 512, 1):
                with contextlib.suppress(OSError):
                    while ballast.write(bytes(size)):
                        pass

    def empty(self) -> None:
        """Give the room back."""
        self._ballast.unlink()


@contextlib.contextmanager
def small_disk(megabytes: int) -> Iterator[SmallDisk]:
    """:raises NotHereError: this machine does not let us mount anything."""
    with tempfile.TemporaryDirectory(prefix="taskmesh-disk-") as directory:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "taskmesh-test", directory]
        try:
            subprocess.run(mount, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", "") or str(error)
            raise NotHereError(f"no file system can be mounted here, which needs root ({said.strip()})") from None
        try:
            yield SmallDisk(Path(directory))
        finally:
            subprocess.run(["umount", "--lazy", directory], check=True)
