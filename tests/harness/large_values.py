"""A place for large values in a directory of a test."""

from __future__ import annotations

from pathlib import Path

from taskmesh.payload.large_values import LargeValues
from taskmesh.payload.opening import PayloadSettings, open_payloads
from taskmesh.payload.payloads import Payloads

THRESHOLD_BYTES = 1024
MAX_BYTES = 4 * 1024 * 1024


def place_at(directory: Path) -> Payloads:
    place = open_payloads(PayloadSettings(directory.as_uri(), "ns", THRESHOLD_BYTES, MAX_BYTES))
    assert place is not None
    return place


def large_values(place: Payloads) -> LargeValues:
    """What puts values of at least THRESHOLD_BYTES there."""
    return LargeValues(lambda: place, THRESHOLD_BYTES)
