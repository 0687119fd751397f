"""Prints the JSON Schema of flow files: ``python -m taskmesh.flows > configs/flow.schema.json``.

``python -m taskmesh.flows schedules > configs/schedules.schema.json`` prints that of schedule files.
"""

from __future__ import annotations

import sys

from taskmesh.flows.schedule_schema import schedule_schema_text
from taskmesh.flows.schema import schema_text

print(schedule_schema_text() if sys.argv[1:] == ["schedules"] else schema_text(), end="")
