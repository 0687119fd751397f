"""The JSON Schema of schedule files, for editors; ``python -m taskmesh.flows schedules`` prints it."""

from __future__ import annotations

import json
from typing import Any

from taskmesh.flows.fields import SCHEDULE_FILE_KEYS, SCHEDULE_KEYS
from taskmesh.model.durations import DURATION_PATTERN, MAX_SECONDS
from taskmesh.model.schedules.schedule import SCHEDULE_ID_PATTERN, CatchUp, Overlap


def schedule_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of a schedule file. What it cannot say, such as zones, only loading finds."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "taskmesh schedules",
        "description": "When runs of flows begin by themselves.",
        "type": "object",
        "properties": {key: _FILE_PROPERTIES[key] for key in SCHEDULE_FILE_KEYS},
        "required": ["schedules"],
        "additionalProperties": False,
        "$defs": {
            "schedule": {
                "type": "object",
                "properties": {key: _PROPERTIES[key] for key in SCHEDULE_KEYS},
                "required": ["flow"],
                "oneOf": [{"required": [key]} for key in ("cron", "every", "at")],
                "additionalProperties": False,
            },
            "duration": {
                "anyOf": [
                    {"type": "number", "minimum": 0, "maximum": MAX_SECONDS},
                    {"type": "string", "pattern": f"^{DURATION_PATTERN}$"},
                ]
            },
        },
    }


def schedule_schema_text() -> str:
    """The schema as the text that is published in ``configs/schedules.schema.json``."""
    return json.dumps(schedule_schema(), indent=2) + "\n"


def _duration(description: str) -> dict[str, Any]:
    return {"$ref": "#/$defs/duration", "description": description}


_FILE_PROPERTIES: dict[str, Any] = {
    "$schema": {"type": "string", "description": "The address of this schema; for editors only."},
    "schedules": {
        "type": "object",
        "description": "The schedules by their ids.",
        "propertyNames": {"type": "string", "pattern": f"^{SCHEDULE_ID_PATTERN}$"},
        "additionalProperties": {"$ref": "#/$defs/schedule"},
    },
}

_PROPERTIES: dict[str, Any] = {
    "flow": {
        "type": "string",
        "description": "A flow file beside this one, module:name of an app, or a registered flow: NAME, NAME@3, "
        "NAME@latest.",
    },
    "cron": {
        "type": "string",
        "description": "Due by a cron line: minute hour day month weekday, with the second before them or without.",
    },
    "every": _duration("Due every so often, at the multiples of this time since 1970."),
    "at": {"type": "string", "description": "Due once, as 2026-03-29T02:30:00; without an offset in the zone."},
    "zone": {"type": "string", "default": "UTC", "description": "The time zone, by its IANA name: Europe/Paris."},
    "params": {
        "type": "object",
        "description": "The parameters of each run; may refer to ${schedule.time} and ${schedule.id}.",
    },
    "overlap": {
        "enum": [str(each) for each in Overlap],
        "default": str(Overlap.SKIP),
        "description": "What becomes of a tick while an earlier run has not ended.",
    },
    "catch_up": {
        "enum": [str(each) for each in CatchUp],
        "default": str(CatchUp.ONE),
        "description": "Which ticks run that came too late.",
    },
    "catch_up_window": _duration("Nothing that is late by more is caught up; default: 1d."),
    "jitter": _duration("A run begins up to so much after its tick; default: 0."),
    "tags": {"type": "object", "additionalProperties": {"type": "string"}, "description": "Tags of each run."},
    "deadline": _duration("A run that takes longer fails; default: it may take any time."),
}
