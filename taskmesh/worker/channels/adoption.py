"""The first steps of a child process: takes over its end of the channel, and ties its life to its parent's."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys

_PR_SET_PDEATHSIG = 1


def adopt_channel(fd: int) -> socket.socket:
    """The socket that this process was started with; programs that it starts will not inherit it."""
    _die_with_parent()
    _leave_signals_to_the_supervisor()
    os.set_inheritable(fd, False)
    return socket.socket(fileno=fd)


def _die_with_parent() -> None:
    """The channel's end tells too, but not to a task that holds the interpreter."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _leave_signals_to_the_supervisor() -> None:
    # Handlers, because SIG_IGN would be inherited by the programs that a task starts.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
