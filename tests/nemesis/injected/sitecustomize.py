"""Python imports this by itself at start when its folder is on the path: sets the traps of an experiment."""

from __future__ import annotations

import importlib

for module in ("crash_points", "names", "schemas"):
    importlib.import_module(module).arm()
