"""The command line in a directory of its own, embedded: one command, no servers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

TASKMESH = (sys.executable, "-c", "from taskmesh.cli import main; main()")


class Shell:
    """Runs taskmesh in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [*TASKMESH, *arguments], cwd=self.directory, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == code, f"ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout if code != 2 else done.stderr

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "-o", "json", code=code))
