"""Logging: one line per record, as text or JSON, without secrets and without control characters.

Say which run and node a line is about with ``extra``:
``log.warning("lease lost", extra={"run": run_id, "node": node})``.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, TextIO, TypeAlias

from taskmesh.redaction import redact, redact_url

__all__ = ["FIELDS", "JsonFormatter", "Subject", "TextFormatter", "configure", "redact_url"]

Subject: TypeAlias = "Callable[[], Mapping[str, object]]"
"""Says what a line is about that is written now: some of FIELDS."""

FIELDS = ("run", "node", "attempt", "task", "pool", "worker", "request_id")
"""What a line may say of its subject; other extras are not written."""

# C0 and C1 controls, the line breaks of Unicode, and the marks that turn the direction of text: with them
# a value could forge a line, or colour and reorder what a terminal shows.
_CONTROLS = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_ESCAPES = MappingProxyType({code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _CONTROLS})
_NAMED = MappingProxyType({**_ESCAPES, 0x09: "\\t", 0x0A: "\\n", 0x0D: "\\r"})


def configure(
    level: str = "info", format: str = "text", stream: TextIO | None = None, subject: Subject | None = None
) -> None:
    """Send every record of this process to ``stream`` (stderr when None); may be called again.

    :param level: the lowest that is written: debug, info, warning or error.
    :param format: text, or json for one object per line.
    :param subject: asked for each line, which may say something else of itself.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    if subject is not None:
        handler.addFilter(_with(subject))
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _with(subject: Subject) -> Callable[[logging.LogRecord], bool]:
    def add(record: logging.LogRecord) -> bool:
        for name, value in subject().items():
            record.__dict__.setdefault(name, value)
        return True

    return add


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.000Z info taskmesh.worker: lease lost run=r-1 node=charge``"""

    def format(self, record: logging.LogRecord) -> str:
        subject = "".join(f" {name}={value}" for name, value in _fields(record))
        line = f"{_time(record)} {record.levelname.lower()} {record.name}: {record.getMessage()}{subject}"
        error = _error(self, record)
        return redact(f"{line} | {error}" if error else line).translate(_NAMED)


class JsonFormatter(logging.Formatter):
    """One JSON object per line; ASCII only, so nothing in it can act on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": redact(record.getMessage()),
        }
        entry.update((name, redact(str(value))) for name, value in _fields(record))
        error = _error(self, record)
        if error:
            entry["error"] = redact(error)
        return json.dumps(entry)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    for name in FIELDS:
        value = getattr(record, name, None)
        if value is not None:
            yield name, value


def _error(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return formatter.formatException(record.exc_info) if record.exc_info and record.exc_info[0] else ""
