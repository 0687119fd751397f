"""Who this process acts for, as it is kept with what is done to runs."""

from __future__ import annotations

import os
import pwd
import socket


def this_user() -> str:
    """The user and the machine, as ``name@host``."""
    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = str(number)
    return f"{name}@{socket.gethostname()}"
