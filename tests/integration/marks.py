"""The marks that tasks of test apps leave in a file that survives every fault; ``MeshBench.effects`` reads them."""

from __future__ import annotations

import os
import time

from taskmesh import current_task


def leave_mark(word: str) -> None:
    context = current_task()
    line = f"{word} {context.run_id} {context.node} {context.attempt} {os.getpid()} {time.monotonic()}\n"
    mark = os.open(os.environ["TASKMESH_TEST_EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(mark, line.encode())
    finally:
        os.close(mark)
