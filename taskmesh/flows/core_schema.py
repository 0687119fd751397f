"""What an unquoted YAML scalar means, by the core schema of YAML 1.2."""

from __future__ import annotations

import re
from collections.abc import Mapping

TAG_PREFIX = "tag:yaml.org,2002:"

NULL = re.compile(r"null|Null|NULL|~|")
BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)

_NUMBER_STARTS = frozenset("0123456789+-.")
_BASES: Mapping[str, int] = {"0o": 8, "0x": 16}


def plain_value(text: str) -> bool | int | float | str | None:
    """The value of an unquoted scalar.

    :raises ValueError: for an integer of more digits than the interpreter converts.
    """
    if text[:1] in _NUMBER_STARTS:
        return _number(text)
    if BOOLEAN.fullmatch(text):
        return text[0] in "tT"
    return None if NULL.fullmatch(text) else text


def _number(text: str) -> int | float | str:
    if INTEGER.fullmatch(text):
        return int(text, _BASES.get(text[:2], 10))
    if FLOAT.fullmatch(text):
        # Python writes inf and nan without the dot.
        return float(text.replace(".", "", 1) if text[-1] in "fFnN" else text)
    return text
