"""A wall clock that can be shifted under a running process, by libfaketime; its monotonic clock is left alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.nemesis.not_here import NotHereError
from tests.nemesis.whole_files import write_whole

PLACES = ("/usr/lib", "/usr/local/lib")
CACHE_SECONDS = 1


class ShiftedClock:
    """What one process believes the time to be; a change takes effect a second later."""

    def __init__(self, directory: Path) -> None:
        """:raises NotHereError: libfaketime is not installed."""
        self._library = _library()
        self._file = directory / "clock"
        self.shift(0)

    def shift(self, seconds: int) -> None:
        """Let its clock be so many seconds ahead of the right time."""
        write_whole(self._file, f"{seconds:+d}\n")

    @property
    def environ(self) -> Mapping[str, str]:
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": str(CACHE_SECONDS),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


def _library() -> Path:
    found = [path for place in PLACES for path in Path(place).glob("**/faketime/libfaketimeMT.so.1")]
    if not found:
        raise NotHereError("libfaketime is not installed (Debian: apt install libfaketime)")
    return found[0]
