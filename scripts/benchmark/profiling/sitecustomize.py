"""Profiles the I/O process of a worker: Python imports this by itself at start when its folder is on the path."""

from __future__ import annotations

import atexit
import cProfile
import os
import sys
from pathlib import Path

if any("io_process" in argument for argument in sys.orig_argv):
    profile = cProfile.Profile()
    target = Path(os.environ["BENCH_PROFILE_DIRECTORY"]) / f"io-{os.getpid()}.prof"
    atexit.register(lambda: profile.dump_stats(target))
    profile.enable()
