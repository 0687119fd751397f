"""Holds values to JSON Schema, draft 2020-12. Who calls bounds the schema first, and puts no references into it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from taskmesh.expressions.cel import Expression, ExpressionError

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MESSAGE_LENGTH = 300


class SchemaError(Exception):
    """What is wrong with a schema, as the end of a sentence."""


class Schema:
    """A schema that was checked. Immutable."""

    def __init__(self, document: Any) -> None:
        """:raises SchemaError: it is no schema, or of another draft, or has a pattern that cannot be matched."""
        # Imported late: most flows have no schemas.
        from jsonschema.exceptions import SchemaError as Unfit

        if isinstance(document, dict) and document.get("$schema", DIALECT) != DIALECT:
            raise SchemaError(f"must be of draft 2020-12 ({DIALECT}), not {document['$schema']!r:.200}")
        checker = _validators()
        try:
            checker.check_schema(document)
        except Unfit as error:
            raise SchemaError(f"is no JSON Schema: {_sentence(error)}") from None
        for pattern in _patterns(document):
            _check_pattern(pattern)
        self._validator: Validator = checker(document)

    def problem(self, value: Any) -> str | None:
        """In what way a value does not keep to the schema, in one sentence; None where it does."""
        from jsonschema.exceptions import best_match

        try:
            error = best_match(self._validator.iter_errors(value))
        except RecursionError:
            return "it is nested too deeply"
        except (ArithmeticError, ValueError):
            # Of these the library finds out whether they are a multiple, and cannot.
            return "a number in it is too large, or NaN, and a multiple of nothing"
        except ExpressionError as unfit:
            return f"a text in it cannot be matched: {unfit}"
        return None if error is None else _sentence(error)


@cache
def _validators() -> Any:
    """The validator of the library, but for patterns: Python's would let a hostile one take for ever."""
    from jsonschema import Draft202012Validator, validators
    from jsonschema.exceptions import ValidationError

    def pattern(validator: Any, wanted: str, value: Any, schema: Any) -> Iterator[ValidationError]:
        if validator.is_type(value, "string") and not _matches(value, wanted):
            yield ValidationError(f"{value!r} does not match {wanted!r}")

    extend: Any = validators.extend
    return extend(Draft202012Validator, {"pattern": pattern})


@cache
def _matcher() -> Expression:
    """CEL's matches runs in linear time."""
    return Expression("value.matches(pattern)")


def _matches(value: str, pattern: str) -> bool:
    return _matcher().evaluate({"value": value, "pattern": pattern}) is True


def _check_pattern(pattern: str) -> None:
    try:
        _matches("", pattern)
    except ExpressionError as error:
        raise SchemaError(f"has a pattern {pattern!r:.200} that cannot be matched: {error}") from None


def _patterns(part: Any) -> Iterator[str]:
    """Every text below a key ``pattern``."""
    if isinstance(part, dict):
        if isinstance(part.get("pattern"), str):
            yield part["pattern"]
        for each in part.values():
            yield from _patterns(each)
    elif isinstance(part, list):
        for each in part:
            yield from _patterns(each)


def _sentence(error: Any) -> str:
    """The library's own words, and the place that they are about."""
    place = ".".join(str(step) for step in error.absolute_path)
    return (f"{place}: " if place else "") + " ".join(str(error.message).split())[:MESSAGE_LENGTH]
