"""Holds the config of nodes to the JSON Schema of their type, as far as references in it let that be seen.

Sentences never repeat a value: it may be a secret, or large.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from taskmesh.model.node_types import UNKNOWN
from taskmesh.model.problems import Hints, Path

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError

_SHOWN = 200
_DRAFT = "https://json-schema.org/draft/2020-12/schema"

_OF_KEYS = frozenset(
    {"required", "additionalProperties", "propertyNames", "minProperties", "maxProperties", "minItems", "maxItems"}
)
"""What these say of an object or a list does not depend on the values in it."""

_CONDITIONAL = frozenset({"if", "then", "else", "anyOf", "oneOf", "not", "dependentSchemas", "contains"})


class ConfigSchema:
    """A schema; compiled when it is first used, as most processes never meet a node of most types."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema

    def fault(self) -> str:
        """Why this can be no schema of a config; empty for a good one."""
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import SchemaError

        if not isinstance(self._schema, Mapping) or self._schema.get("type") != "object":
            return "its schema must be a mapping with type: object"
        try:
            Draft202012Validator.check_schema(self._schema)
            return next(self._lost_references(self._schema), "")
        except SchemaError as error:
            place = "/".join(map(str, error.absolute_path)) or "its top"
            return f"its schema is no JSON Schema: at {place}: {error.message[:_SHOWN]}"
        except RecursionError:
            return "its schema is nested too deep"

    def findings(self, config: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        """Each broken rule with its place; ``UNKNOWN`` in ``config`` stands for what only a run will tell."""
        is_foreseen = not holds_unknown(config)
        found: dict[tuple[Path, str], None] = {}
        try:
            for error in self._validator.iter_errors(config):
                if is_foreseen or _is_certain(error):
                    found.update(dict.fromkeys(_described(error)))
        except RecursionError:
            found[(), "is nested too deep for the schema of this type, or that refers to itself without end"] = None
        yield from found

    @cached_property
    def _validator(self) -> Draft202012Validator:
        from jsonschema import Draft202012Validator
        from referencing import Registry

        # An empty registry: without one, a reference to an address would be fetched from there.
        return Draft202012Validator(self._schema, registry=Registry())

    def _lost_references(self, schema: Any) -> Iterator[str]:
        """What leads out of the schema, or to nothing in it."""
        if isinstance(schema, Mapping):
            for key in ("$ref", "$dynamicRef", "$schema"):
                reference = schema.get(key)
                is_meta = key == "$schema" and reference == _DRAFT
                if isinstance(reference, str) and not is_meta and not self._leads_within(reference):
                    yield f"its schema refers to {reference[:_SHOWN]!r}; it must hold all of itself, in draft 2020-12"
            schema = list(schema.values())
        if isinstance(schema, list):
            for item in schema:
                yield from self._lost_references(item)

    def _leads_within(self, reference: str) -> bool:
        from referencing import Registry
        from referencing.exceptions import Unresolvable
        from referencing.jsonschema import DRAFT202012

        if not reference.startswith("#"):
            return False
        resource = DRAFT202012.create_resource(self._schema)
        try:
            Registry().with_resource("", resource).resolver().lookup(reference)
        except Unresolvable:
            return False
        return True


def holds_unknown(value: Any) -> bool:
    """Whether something in it is told by a run only."""
    if isinstance(value, Mapping):
        return any(map(holds_unknown, value.values()))
    return any(map(holds_unknown, value)) if isinstance(value, list) else value is UNKNOWN


def _is_certain(error: ValidationError) -> bool:
    """Whether the rule is broken whatever the unknown values turn out to be."""
    if _CONDITIONAL.intersection(error.absolute_schema_path):
        return False
    if not holds_unknown(error.instance):
        return True
    return error.instance is not UNKNOWN and error.validator in _OF_KEYS


def _described(error: ValidationError) -> Iterator[tuple[Path, str]]:
    path: Path = tuple(error.absolute_path)
    describe = _SENTENCES.get(str(error.validator), _any_rule)
    for below, sentence in describe(error):
        yield (*path, *below), f"{'.'.join(map(str, (*path, *below))) or 'with'} {sentence}"


_Findings = Iterator[tuple[Path, str]]


def _any_rule(error: ValidationError) -> _Findings:
    rule = json.dumps(error.validator_value, default=str)[:_SHOWN]
    yield (), f"breaks the rule {error.validator}: {rule}"


def _type(error: ValidationError) -> _Findings:
    rule: Any = error.validator_value
    kinds = [rule] if isinstance(rule, str) else rule
    yield (), f"must be of type {' or '.join(kinds)}"


def _choice(error: ValidationError) -> _Findings:
    rule: Any = error.validator_value
    yield (), f"must be one of {', '.join(map(str, rule))}"


def _required(error: ValidationError) -> _Findings:
    assert isinstance(error.instance, Mapping)
    rule: Any = error.validator_value
    missing = [name for name in rule if name not in error.instance]
    yield (), f"also needs {', '.join(map(repr, missing))}"


def _surplus(error: ValidationError) -> _Findings:
    assert isinstance(error.instance, Mapping)
    assert isinstance(error.schema, Mapping)
    known = error.schema.get("properties", {})
    patterns = [re.compile(each) for each in error.schema.get("patternProperties", {})]
    for name in error.instance:
        if name not in known and not any(pattern.search(name) for pattern in patterns):
            hint = Hints(known).did_you_mean(name) or f"; known are {', '.join(known)}"
            yield (name,), f"is no key of this type{hint}"


_SENTENCES: Mapping[str, Callable[[ValidationError], _Findings]] = MappingProxyType(
    {"type": _type, "enum": _choice, "required": _required, "additionalProperties": _surplus}
)
