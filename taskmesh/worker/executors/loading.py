"""Finds the tasks of an app: imports the modules that were named, and nothing else."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

from taskmesh.errors import UsageError
from taskmesh.plugins.catalog import NodeTypes
from taskmesh.tasks.registry import Registry
from taskmesh.worker.executors.invoke import Runnable, current


def load_runnables(apps: Sequence[str], node_types: NodeTypes | None) -> dict[str, Runnable]:
    """What an executor runs: the tasks of its apps, and what stands for the node types that are on here."""
    return {**load_tasks(apps), **(node_types.executable(current) if node_types else {})}


def load_tasks(apps: Sequence[str]) -> dict[str, Runnable]:
    """The tasks of apps by name; errors as of ``load_registry``."""
    return {task.name: task for task in load_registry(apps)}


def load_registry(apps: Sequence[str]) -> Registry:
    """Import each app (``module`` or ``module:attribute``) and collect the tasks of its mesh.

    :raises UsageError: one sentence that says which app, what is wrong with it and what to do.
    """
    if not apps:
        raise UsageError("no app is named: give -A MODULE, or worker.modules in the settings")
    directory = os.getcwd()
    if directory not in sys.path:
        sys.path.insert(0, directory)
    tasks = _collected({id(registry): registry for app in apps for registry in _registries(app)}.values())
    if not len(tasks):
        raise UsageError(f"no task is registered in {', '.join(apps)}; decorate a function there with @mesh.task")
    return tasks


def _collected(registries: Iterable[Registry]) -> Registry:
    tasks = Registry()
    for registry in registries:
        for task in registry:
            if tasks.find(task.name) is not None:
                raise UsageError(f"two apps of this worker register a task {task.name!r}; give one another name")
            tasks.add(task)
    return tasks


def _registries(app: str) -> list[Registry]:
    module_name, _, attribute = app.partition(":")
    module = _import(module_name, app)
    if attribute:
        return [_named(module, attribute, app)]
    found = list(_all(module))
    if not found:
        raise UsageError(f"module {module_name!r} (-A {app}) has no Mesh at its top level; write `mesh = Mesh()` there")
    return found


def _named(module: ModuleType, attribute: str, app: str) -> Registry:
    missing = object()
    value: Any = module
    for part in attribute.split("."):
        value = getattr(value, part, missing)
    registry = _registry_of(value)
    if registry is not None:
        return registry
    fault = "does not exist" if value is missing else f"is a {type(value).__name__}, not a Mesh"
    raise UsageError(f"{attribute!r} of module {module.__name__!r} (-A {app}) {fault}; name the attribute of its Mesh")


def _all(module: ModuleType) -> Iterator[Registry]:
    for value in list(vars(module).values()):
        registry = _registry_of(value)
        if registry is not None:
            yield registry


def _registry_of(value: object) -> Registry | None:
    if isinstance(value, Registry):
        return value
    try:
        registry = getattr(value, "registry", None)
    except Exception:
        # Any object may stand at a module's top level, some of which refuse to be looked at.
        return None
    return registry if isinstance(registry, Registry) else None


def _import(name: str, app: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UsageError(_missing_module(name, app, error.name or "")) from None
    except (Exception, SystemExit) as error:
        raise UsageError(_broken_module(name, app, error)) from None


def _missing_module(name: str, app: str, missing: str) -> str:
    if missing == name or name.startswith(f"{missing}."):
        return (
            f"module {missing!r} (-A {app}) does not exist; looked in {os.getcwd()} and on the Python path: "
            "check the name, or start the worker in the directory that holds it"
        )
    return f"module {name!r} (-A {app}) imports {missing!r}, which is not installed for {sys.executable}"


def _broken_module(name: str, app: str, error: BaseException) -> str:
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    where = f" ({places[-1].filename}:{places[-1].lineno})" if len(places) > 1 else ""
    said = " ".join(str(error).split())
    return f"module {name!r} (-A {app}) cannot be imported: {type(error).__name__}: {said}{where}"
