"""``python -m``: flows that begin others, in a mesh without servers whose worker is in this process."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from taskmesh import RunState
from tests.integration.subflow_app import climbing, deep_waiting, inner, mesh, named, outer, saga

PATIENCE_SECONDS = 30.0


def _run(directory: Path) -> None:
    assert mesh.submit(outer, value=3).result(timeout=PATIENCE_SECONDS) == 48
    assert mesh.submit(climbing, value=4).result(timeout=PATIENCE_SECONDS) == 24
    mesh.flows.push(inner, activate=True)
    assert mesh.submit(named, value=1).result(timeout=PATIENCE_SECONDS) == 8
    undone = mesh.submit(saga, path=str(directory / "never"))
    assert undone.wait(timeout=PATIENCE_SECONDS) is RunState.COMPENSATED
    waiting = mesh.submit(deep_waiting, path=str(directory / "never"))
    while not waiting.details().nodes[0].child:
        time.sleep(0.02)
    assert waiting.cancel()
    assert waiting.wait(timeout=PATIENCE_SECONDS) is RunState.CANCELLED


if __name__ == "__main__":
    with mesh.local_worker(threads=2):
        _run(Path(sys.argv[1]))
    print("done")
