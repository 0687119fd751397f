"""What all drivers are: one JSON request a line on stdin, one JSON answer a line on stdout.

Only the standard library is used here, because the drivers of peers run where taskmesh is not installed.
"""

from __future__ import annotations

import json
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any


class Driver(ABC):
    """Gives one system its work and waits for it. A workload is a method named after it."""

    @abstractmethod
    def wait(self) -> None:
        """Return when everything that was submitted has ended."""

    @abstractmethod
    def clear(self) -> None:
        """Forget what has ended, and delete what the system keeps of it where that is the custom."""

    def submit(self, workload: str, size: int) -> dict[str, Any]:
        begun = time.perf_counter()
        getattr(self, workload)(size)
        return {"seconds": time.perf_counter() - begun}

    def latencies(self, workload: str, size: int) -> dict[str, Any]:
        return {"seconds": getattr(self, workload)(size)}

    def serve(self) -> None:
        """Answer requests until stdin ends."""
        answers = sys.stdout
        sys.stdout = sys.stderr  # what the system prints must not be taken for an answer
        print(json.dumps({"ready": True}), file=answers, flush=True)
        for line in sys.stdin:
            request = json.loads(line)
            answer = getattr(self, request.pop("op"))(**request)
            print(json.dumps(answer or {}), file=answers, flush=True)


def timed(action: Callable[[], object], parts: int = 1) -> float:
    """Seconds that ``action`` took, for each of its parts."""
    begun = time.perf_counter()
    action()
    return (time.perf_counter() - begun) / parts
