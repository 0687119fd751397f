"""A mesh in a child of a fork."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from taskmesh import Mesh

PATIENCE_SECONDS = 10


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_lock_that_another_thread_held_does_not_stop_the_child() -> None:
    mesh = Mesh(namespace="forked")
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with mesh._lock:
            held.set()
            done.wait(PATIENCE_SECONDS)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(PATIENCE_SECONDS)
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE_SECONDS)
        os._exit(0 if mesh.settings.namespace == "forked" else 1)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
