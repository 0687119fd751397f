"""Finds the mesh of an app by its name, ``module`` or ``module:attribute``."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

from taskmesh.app.mesh import Mesh
from taskmesh.errors import UsageError


def find_mesh(app: str) -> Mesh:
    """Import the module, with the current directory on the path, and find its mesh.

    :raises UsageError: one sentence that says what is wrong with the name.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module_name, _, attribute = app.partition(":")
    module = _import(module_name)
    if attribute:
        found = getattr(module, attribute, None)
        if not isinstance(found, Mesh):
            raise UsageError(f"{attribute!r} of module {module_name!r} is no Mesh; name the attribute that holds it")
        return found
    meshes = [value for value in vars(module).values() if isinstance(value, Mesh)]
    if len(meshes) != 1:
        raise UsageError(f"module {module_name!r} has {len(meshes)} meshes at its top level; name one as MODULE:NAME")
    return meshes[0]


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name or name.startswith(f"{error.name}."):
            raise UsageError(
                f"module {name!r} does not exist; check the name, or start in the directory that holds it"
            ) from None
        raise UsageError(f"module {name!r} imports {error.name!r}, which is not installed") from None
