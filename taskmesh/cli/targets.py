"""What a command works on: the mesh of an app, a flow out of a file, the parameters of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from taskmesh.errors import UsageError

if TYPE_CHECKING:
    from taskmesh.app.mesh import Mesh
    from taskmesh.config import Settings
    from taskmesh.model.flow import Flow, ParamType
    from taskmesh.model.values import Value
    from taskmesh.tasks.registry import Registry


@contextmanager
def opened(apps: Sequence[str] = (), settings: Settings | None = None) -> Iterator[Mesh]:
    """A mesh with the tasks of the apps, closed at the end.

    Without apps it takes those that the settings name, and may know no task. ``settings`` stand above those
    of the apps, which otherwise are the settings of the first app's mesh.
    """
    from taskmesh.app.locate import find_mesh
    from taskmesh.app.mesh import Mesh

    own = None if apps and settings is None else Mesh(settings)
    meshes = [find_mesh(app) for app in apps or (own.settings.worker.modules if own else ())]
    mesh = own or meshes[0]
    for other in meshes:
        if other is not mesh:
            _add_tasks(mesh.registry, other.registry)
    try:
        yield mesh
    finally:
        for each in {id(each): each for each in (*meshes, mesh)}.values():
            each.close()


def _add_tasks(registry: Registry, others: Registry) -> None:
    for name in others.names():
        task = others.find(name)
        if task is not None and registry.find(name) is not task:
            registry.add(task)


def flow_of(target: str, registry: Registry, strict: bool) -> Flow:
    """The flow in a file, or that of a single task where ``target`` is ``module:function``.

    Where ``strict``, or where any task is known, every task of the flow has to be in the registry.
    """
    from taskmesh.flows import load_flow_file

    known = any(True for _ in registry.names())
    if ":" in target and not Path(target).exists():
        return _flow_of_task(target, registry, strict or known)
    if not strict and not known:
        return load_flow_file(target)
    if not known:
        _ask_for_app(load_flow_file(target))
    return load_flow_file(target, registry)


def _flow_of_task(name: str, registry: Registry, must_be_known: bool) -> Flow:
    from taskmesh.model.flow import DEFAULT_POOL
    from taskmesh.model.problems import Hints
    from taskmesh.tasks import single_task_flow

    task = registry.find(name)
    if task is None and must_be_known:
        hint = Hints(registry.names()).did_you_mean(name)
        raise UsageError(f"{name!r} is neither a file nor a task of the apps that -A names{hint}")
    return single_task_flow(name, task.pool if task else DEFAULT_POOL)


def _ask_for_app(flow: Flow) -> NoReturn:
    modules = sorted({node.task.partition(":")[0] for node in flow.nodes if ":" in node.task})
    options = " ".join(f"-A {module}" for module in modules) or "-A MODULE"
    raise UsageError(f"no app is named, so the tasks of flow {flow.name!r} are not known here; add {options}")


def params_of(pairs: Sequence[str], flow: Flow) -> dict[str, Value]:
    """The parameters of a run, from ``NAME=VALUE`` texts.

    A value is read as JSON where it is JSON and the flow does not declare a string; else it is text.
    """
    declared = {param.name: param.type for param in flow.params}
    return {name: _value(text, declared.get(name)) for name, text in pairs_of(pairs, "-p").items()}


def pairs_of(pairs: Sequence[str], option: str) -> dict[str, str]:
    """``NAME=TEXT`` texts as a mapping."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not name or not separator:
            raise UsageError(f"{option} {pair!r} has no name and value; write {option} NAME=VALUE")
        if name in found:
            raise UsageError(f"{option} {name} is given twice; give it once")
        found[name] = text
    return found


def _value(text: str, declared: ParamType | None) -> Value:
    if declared == "string":
        return text
    try:
        value: Value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return text
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
