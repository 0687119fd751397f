"""Where node types come from: taskmesh itself, installed packages, and manifests that the settings name."""

from __future__ import annotations

import importlib
import os
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from taskmesh.errors import UsageError
from taskmesh.plugins.interface import ENTRY_POINT_GROUP
from taskmesh.plugins.loading import Candidate

MAX_MANIFEST_BYTES = 1024 * 1024
_KEYS = frozenset({"module", "class"})


def installed() -> Iterator[Candidate]:
    """Those of installed packages, in the same order in every process."""
    found = [(point, _package(point)) for point in entry_points(group=ENTRY_POINT_GROUP)]
    for point, package in sorted(found, key=lambda each: (each[0].name, each[1])):
        yield Candidate(point.name, package, point.load)


def declared(manifest: str) -> Iterator[Candidate]:
    """Those of a manifest; what is wrong with the file itself is told by a candidate that cannot be made."""
    origin = f"manifest {manifest}"
    try:
        types = _types(manifest)
    except UsageError as error:
        yield Candidate(manifest, origin, _failing(str(error)))
        return
    for name, said in types.items():
        if _is_said(said):
            yield Candidate(name, origin, _importing(said["module"], said["class"]))
        else:
            problem = f"write [types.{name}] with a module and a class, both as text, and nothing else"
            yield Candidate(name, origin, _failing(problem))


def _is_said(said: Any) -> bool:
    return isinstance(said, Mapping) and said.keys() == _KEYS and all(isinstance(each, str) for each in said.values())


def _package(point: EntryPoint) -> str:
    return f"package {point.dist.name} {point.dist.version}" if point.dist else f"entry point {point.value}"


def _types(manifest: str) -> Mapping[str, Any]:
    try:
        with open(manifest, "rb") as file:
            content = tomllib.loads(file.read(MAX_MANIFEST_BYTES).decode())
    except OSError as error:
        raise UsageError(f"the file cannot be read: {error.strerror}; correct plugins.manifests") from None
    except ValueError as error:
        raise UsageError(f"the file is not TOML: {error}") from None
    types = content.get("types")
    if content.keys() != {"types"} or not isinstance(types, Mapping):
        raise UsageError("the file must hold tables [types.NAME], each with a module and a class, and nothing else")
    return types


def _importing(module: str, attribute: str) -> Callable[[], Any]:
    def load() -> Any:
        # As for the apps: what lies in the directory where the worker was started counts.
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        return getattr(importlib.import_module(module), attribute)

    return load


def _failing(problem: str) -> Callable[[], Any]:
    def load() -> Any:
        raise UsageError(problem)

    return load
