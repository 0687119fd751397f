"""What a command works on: the mesh of an app, a flow, the parameters of a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
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
    """A mesh that knows the tasks of the apps, closed at the end.

    Without ``settings`` it is the mesh of the first app, which may have settings of its own; without apps, those
    that the settings name.
    """
    from taskmesh.app.locate import find_mesh
    from taskmesh.app.mesh import Mesh

    with ExitStack() as stack:
        own = None if apps and settings is None else stack.enter_context(closing(Mesh(settings)))
        named = apps or (own.settings.worker.modules if own else ())
        found = [stack.enter_context(closing(find_mesh(app))) for app in named]
        mesh = own or found[0]
        for other in found:
            if other is not mesh:
                for task in other.registry:
                    mesh.registry.add(task)
        yield mesh


def flow_of(target: str, registry: Registry, must_be_known: bool) -> Flow:
    """The flow in a file, or the task or the Python flow ``module:name`` of an app that is loaded.

    Where ``must_be_known``, or where any task is known, the registry has to hold every task of the flow.
    """
    from taskmesh.flows import load_flow_file

    if ":" in target and not Path(target).exists():
        return _named(target, registry, must_be_known)
    if must_be_known and not len(registry):
        _ask_for_app(load_flow_file(target))
    return load_flow_file(target, registry if len(registry) else None)


def _python_flow(module: str, attribute: str) -> Flow | None:
    """The Python flow of this name in a module that an app has loaded; None where there is none."""
    from taskmesh.tasks.flow import FlowDefinition

    definition = getattr(sys.modules.get(module), attribute, None)
    return definition.compile() if isinstance(definition, FlowDefinition) else None


def _named(name: str, registry: Registry, must_be_known: bool) -> Flow:
    from taskmesh.model.flow import DEFAULT_POOL
    from taskmesh.model.problems import Hints
    from taskmesh.tasks.flow import single_task_flow

    task = registry.find(name)
    if task is not None:
        return single_task_flow(name, task.pool)
    module, _, attribute = name.partition(":")
    flow = _python_flow(module, attribute) if len(registry) else None
    if flow is not None:
        return flow
    if len(registry):
        hint = Hints(registry.names()).did_you_mean(name)
        raise UsageError(f"{name!r} is neither a file nor a task or flow of the apps that -A names{hint}")
    if must_be_known:
        raise UsageError(f"no app is named, so {name!r} is not known here; add -A {module}")
    return single_task_flow(name, DEFAULT_POOL)


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
    """``NAME=TEXT`` texts as a mapping; ``option`` is what errors call them.

    :raises UsageError: for one without a name or a =, and for a name that is given twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not name or not separator:
            raise UsageError(f"{option} {pair!r} is not a name and a value; write {option} NAME=VALUE")
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
