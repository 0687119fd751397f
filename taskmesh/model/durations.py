"""Lengths of time as people write them: ``100ms``, ``10s``, ``5m``, ``2h``, ``1d``, or a number of seconds."""

from __future__ import annotations

import math
import re

MAX_SECONDS = 366 * 86_400.0

DURATION_PATTERN = r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)"
DURATION_RULE = "a number of seconds, or a number with ms, s, m, h or d behind it"

_DURATION = re.compile(DURATION_PATTERN)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def read_duration(value: object) -> float | None:
    """The seconds that a value means; None where it is no duration."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return as_float(value)
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return float(match[1]) * _UNITS[match[2]] if match else None


def as_float(number: float) -> float:
    """A number as a decimal one; an integer that is larger than any of those is infinite."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def duration_problem(seconds: object) -> str | None:
    """What is wrong with a length of time, as the end of a sentence."""
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        return f"must be a number of seconds, not {seconds!r:.100}"
    if not 0 < seconds <= MAX_SECONDS:
        return f"must be more than 0 and at most {MAX_SECONDS:.0f} seconds (366 days), not {as_float(seconds):g}"
    return None


def duration_text(seconds: float | None) -> str:
    """Seconds as people say them: ``12 ms``, ``3.4 s``, ``5 min 07 s``, ``2 h 03 min``."""
    if seconds is None:
        return ""
    if seconds < 0.9995:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
