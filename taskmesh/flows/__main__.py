"""Prints the JSON Schema of flow files: ``python -m taskmesh.flows > configs/flow.schema.json``."""

from __future__ import annotations

from taskmesh.flows.schema import schema_text

print(schema_text(), end="")
