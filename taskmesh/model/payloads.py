"""Payloads of signals, and the JSON Schemas that they must keep to.

A schema stands in a flow, which anybody may have written, and is worked through by whoever sends a signal. So it is
bounded before it is used: its size, its depth, and what is left of it when its references are put in their places. Then
a check takes no more steps than the schema has parts, times those of the payload (their square for ``uniqueItems``);
patterns take linear time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from taskmesh.expressions.json_schema import Schema, SchemaError

MAX_SCHEMA_BYTES = 16 * 1024
MAX_SCHEMA_DEPTH = 32
MAX_SCHEMA_PARTS = 4_000
"""How many objects, lists and plain values it may have, with its references in their places."""

_LOCAL = "#/$defs/"
_UNFIT = ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "patternProperties")
"""Keywords that would need more than the schema itself, or time without bounds."""


def schema_problem(schema: Mapping[str, Any]) -> str | None:
    """What is wrong with a schema, as the end of a sentence; None where payloads can be held to it."""
    try:
        _schema_of(_text(schema))
    except SchemaError as error:
        return str(error)
    return None


def payload_problem(schema: Mapping[str, Any], value: Any) -> str | None:
    """In what way a value does not keep to a schema that has no problem, in one sentence."""
    return _schema_of(_text(schema)).problem(value)


def _text(schema: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise SchemaError(f"must be a JSON Schema in plain JSON: {error}") from None
    if len(text) > MAX_SCHEMA_BYTES:
        raise SchemaError(f"has {len(text)} bytes as JSON; a schema may have {MAX_SCHEMA_BYTES}")
    return text


@lru_cache(maxsize=256)
def _schema_of(text: str) -> Schema:
    return Schema(_Expansion(json.loads(text)).whole())


class _Expansion:
    """Puts what is referred to in the place of each reference, as long as that stays small."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._definitions = schema.get("$defs", {})
        self._parts = 0

    def whole(self) -> Any:
        """:raises SchemaError: it would be too large or too deep, or refers to what is not there."""
        return self._expanded({key: part for key, part in self._schema.items() if key != "$defs"}, MAX_SCHEMA_DEPTH)

    def _expanded(self, part: Any, depth: int) -> Any:
        self._parts += 1
        if self._parts > MAX_SCHEMA_PARTS:
            raise SchemaError(f"has more than {MAX_SCHEMA_PARTS} parts, with its references in their places")
        if depth == 0:
            raise SchemaError(f"is deeper than {MAX_SCHEMA_DEPTH} levels, or refers to itself")
        if isinstance(part, list):
            return [self._expanded(each, depth - 1) for each in part]
        return self._object(part, depth) if isinstance(part, dict) else part

    def _object(self, part: dict[str, Any], depth: int) -> dict[str, Any]:
        for key in _UNFIT:
            if key in part:
                raise SchemaError(f"uses {key!r}, which is not supported; a schema must stand for itself")
        rest = {key: self._expanded(each, depth - 1) for key, each in part.items() if key != "$ref"}
        if "$ref" not in part:
            return rest
        return {**rest, "allOf": [*rest.get("allOf", []), self._expanded(self._definition(part["$ref"]), depth - 1)]}

    def _definition(self, reference: Any) -> Any:
        name = reference.removeprefix(_LOCAL) if isinstance(reference, str) and reference.startswith(_LOCAL) else None
        if name is None or not isinstance(self._definitions, dict) or name not in self._definitions:
            raise SchemaError(
                f"refers to {reference!r:.200}; a reference must be {_LOCAL}NAME, with NAME below '$defs'"
            )
        return self._definitions[name]
