"""Finds the mesh of an app by its name, ``module`` or ``module:attribute``."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from types import ModuleType

from taskmesh.app.mesh import Mesh
from taskmesh.errors import UsageError


def find_mesh(app: str) -> Mesh:
    """Import the module, with the current directory on the path, and find its mesh.

    :raises UsageError: one sentence that says what is wrong with the name, or with the module.
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
    return _only_mesh(module)


def _only_mesh(module: ModuleType) -> Mesh:
    meshes = {id(value): value for value in vars(module).values() if isinstance(value, Mesh)}
    if not meshes:
        raise UsageError(f"module {module.__name__!r} has no Mesh at its top level; write `mesh = Mesh()` there")
    if len(meshes) > 1:
        raise UsageError(
            f"module {module.__name__!r} has {len(meshes)} meshes at its top level; name one as MODULE:NAME"
        )
    return next(iter(meshes.values()))


def _import(name: str) -> ModuleType:
    if not name or name.startswith(".") or name.endswith(".py") or os.sep in name:
        raise UsageError(f"{name!r} is no name of a module; write it with dots and without .py, as in shop.tasks")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UsageError(_missing_module(name, error.name or "")) from None
    except (Exception, SystemExit) as error:
        raise UsageError(_broken_module(name, error)) from None


def _missing_module(name: str, missing: str) -> str:
    if name == missing or name.startswith(f"{missing}."):
        return f"module {missing!r} does not exist; check the name, or start in the directory that holds it"
    return f"module {name!r} imports {missing!r}, which is not installed for {sys.executable}"


def _broken_module(name: str, error: BaseException) -> str:
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    where = f" ({places[-1].filename}:{places[-1].lineno})" if len(places) > 1 else ""
    said = " ".join(str(error).split())
    return f"module {name!r} cannot be imported: {type(error).__name__}: {said}{where}"
