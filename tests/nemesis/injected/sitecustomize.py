"""Python imports this by itself at start when its folder is on the path: sets the traps of an experiment."""

from __future__ import annotations

import importlib

importlib.import_module("crash_points").arm()
