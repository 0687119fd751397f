"""What some experiments need and not every machine has."""

from __future__ import annotations


class NotHereError(Exception):
    """This machine lacks what an experiment needs; the message says what."""
