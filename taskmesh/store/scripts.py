"""The Lua scripts, read from the package: one file, one transition, named like the store's method."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import NamedTuple


@dataclass(frozen=True)
class Script:
    """One script as the server gets it."""

    name: str
    source: str

    @cached_property
    def sha(self) -> str:
        return hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


PRELUDES = (
    *("prelude.lua", "prelude_rules.lua", "prelude_copies.lua", "prelude_endings.lua", "prelude_schedules.lua"),
    "prelude_batches.lua",
)
"""What the scripts share, in the order in which it stands before them."""

_COMMENT_LINE = re.compile(r"^\s*--.*\n", re.MULTILINE)
_DEFINITION = re.compile(r"^local (?:function )?([\w, ]+\w)", re.MULTILINE)
_WORD = re.compile(r"\w+")


class Scripts:
    """All scripts by name; each is put together when it is asked for first."""

    def __init__(self) -> None:
        folder = resources.files("taskmesh.store") / "lua"
        texts = {path.name: path.read_text() for path in folder.iterdir() if path.name.endswith(".lua")}
        if not texts:
            raise RuntimeError("the package has no Lua scripts; it was not installed whole")
        self._prelude = "".join(texts.pop(name) for name in PRELUDES)
        self._bodies = {name.removesuffix(".lua"): text for name, text in texts.items()}
        self._scripts: dict[str, Script] = {}

    def __getitem__(self, name: str) -> Script:
        script = self._scripts.get(name)
        if script is None:
            shebang, _, body = self._bodies[name].partition("\n")
            script = self._scripts[name] = Script(name, "\n".join([shebang, *_used(self._shared, body), body]))
        return script

    def names(self) -> list[str]:
        return sorted(self._bodies)

    @cached_property
    def _shared(self) -> list[_Definition]:
        return _definitions(self._prelude)


class _Definition(NamedTuple):
    """A top-level ``local`` statement with all lines up to the next, and the words in it."""

    names: frozenset[str]
    words: frozenset[str]
    code: str


def _definitions(prelude: str) -> list[_Definition]:
    code = _COMMENT_LINE.sub("", prelude)
    found = list(_DEFINITION.finditer(code))
    ends = [*(each.start() for each in found[1:]), len(code)]
    parts = [(each, code[each.start() : end]) for each, end in zip(found, ends, strict=True)]
    return [_Definition(_words(each.group(1)), _words(part), part) for each, part in parts]


def _used(shared: Sequence[_Definition], body: str) -> list[str]:
    """The definitions that a script uses, itself or through others, which stand before it.

    Redis carries out all that stands before a script anew with each call: with all, a claim takes a third longer.
    """
    words = set(_words(_COMMENT_LINE.sub("", body)))
    used: list[str] = []
    for definition in reversed(shared):
        if not words.isdisjoint(definition.names):
            words |= definition.words
            used.append(definition.code)
    return used[::-1]


def _words(code: str) -> frozenset[str]:
    return frozenset(_WORD.findall(code))
