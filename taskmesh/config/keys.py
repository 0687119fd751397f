"""The settings as a flat table of keys: ``namespace``, ``broker.url``, ``worker.lease_seconds`` ..."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, fields, is_dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from taskmesh.config.settings import Settings

ENV_PREFIX = "TASKMESH_"
ENV_SEPARATOR = "__"


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: its dotted name, its type as annotated, its default, and the rules of its value."""

    name: str
    kind: str
    default: Any
    rules: Mapping[str, Any]

    @property
    def is_url(self) -> bool:
        return "schemes" in self.rules

    @property
    def env_name(self) -> str:
        return ENV_PREFIX + self.name.replace(".", ENV_SEPARATOR).upper()


def _keys_of(section: Any, prefix: str = "") -> Iterator[Key]:
    for each in fields(section):
        value = getattr(section, each.name)
        if is_dataclass(value):
            yield from _keys_of(value, f"{each.name}.")
        else:
            yield _key(each, prefix, value)


def _key(each: Field[Any], prefix: str, default: Any) -> Key:
    return Key(prefix + each.name, str(each.type), default, each.metadata)


KEYS: Mapping[str, Key] = MappingProxyType({key.name: key for key in _keys_of(Settings())})
"""Every setting by its dotted name, in the order of the reference."""


def nearest(name: str, known: list[str]) -> str:
    """The end of a sentence: which known name was probably meant."""
    match = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {match[0]}?" if match else "; `taskmesh config show` lists them all"
