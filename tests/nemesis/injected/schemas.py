"""Makes a process one of an earlier version, in what flows it can read; see ``taskmesh.wire.flows``."""

from __future__ import annotations

import importlib
import os

SCHEMAS = "TASKMESH_TEST_FLOW_SCHEMAS"
"""The environment variable with the newest schema that the process knows."""


def arm() -> None:
    """Let the process refuse flows of later schemas, where the environment says so."""
    if SCHEMAS in os.environ:
        flows = importlib.import_module("taskmesh.wire.flows")
        known = tuple(each for each in flows.SCHEMAS if each <= int(os.environ[SCHEMAS]))
        vars(flows)["SCHEMAS"] = known
