"""The Lua scripts, read from the package: one file, one transition, named like the store's method."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib import resources


@dataclass(frozen=True)
class Script:
    """One script as the server gets it."""

    name: str
    source: str

    @cached_property
    def sha(self) -> str:
        return hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


PRELUDES = ("prelude.lua", "prelude_endings.lua")
"""What stands before the body of every script, in this order."""


class Scripts:
    """All scripts by name."""

    def __init__(self) -> None:
        folder = resources.files("taskmesh.store") / "lua"
        prelude = "\n".join((folder / name).read_text() for name in PRELUDES)
        self._scripts = {
            path.name.removesuffix(".lua"): _assemble(path.name.removesuffix(".lua"), prelude, path.read_text())
            for path in folder.iterdir()
            if path.name.endswith(".lua") and path.name not in PRELUDES
        }
        if not self._scripts:
            raise RuntimeError("the package has no Lua scripts; it was not installed whole")

    def __getitem__(self, name: str) -> Script:
        return self._scripts[name]

    def names(self) -> list[str]:
        return sorted(self._scripts)


def _assemble(name: str, prelude: str, body: str) -> Script:
    shebang, _, rest = body.partition("\n")
    return Script(name, f"{shebang}\n{prelude}\n{rest}")
