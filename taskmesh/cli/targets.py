"""What a command works on: the mesh of an app, a flow, the parameters of a run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from taskmesh.cli.options import parsed
from taskmesh.errors import FlowError, FlowVersionError, UsageError
from taskmesh.model.subflows import flows_in

if TYPE_CHECKING:
    from taskmesh.app.mesh import Mesh
    from taskmesh.config import Settings
    from taskmesh.model.flow import Flow, ParamType
    from taskmesh.model.values import Value
    from taskmesh.tasks.flow import FlowDefinition
    from taskmesh.tasks.registry import Registry

FILE_SUFFIXES = frozenset({".yaml", ".yml", ".json", ".py"})

Lookup: TypeAlias = "Callable[[str], Flow]"
"""Finds a registered flow by NAME, NAME@NUMBER or NAME@latest."""


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


def flow_of(target: str, registry: Registry, must_be_known: bool, lookup: Lookup | None = None) -> Flow:
    """The flow in a file, a registered one, or the task or the Python flow ``module:name`` of an app that is loaded.

    Where ``must_be_known``, or where any task is known, the registry has to hold every task of the first two.
    Without ``lookup`` there are no registered ones.
    """
    flow = _found(target, registry, lookup)
    if must_be_known:
        _require_work(flow, registry)
    return flow


def _found(target: str, registry: Registry, lookup: Lookup | None) -> Flow:
    from taskmesh.flows import load_flow_file

    if _is_name(target):
        return _named(target, registry)
    if lookup is not None and _is_reference(target):
        return _registered(target, registry, lookup)
    _refuse_code(target, registry)
    return load_flow_file(target, registry)


def flow_to_submit(target: str, registry: Registry, lookup: Lookup | None = None) -> Flow:
    """``flow_of`` for workers elsewhere: where no app is loaded, any name may be one of their tasks."""
    from taskmesh.model.flow import DEFAULT_POOL
    from taskmesh.tasks.flow import single_task_flow

    if _is_name(target) and not len(registry):
        return single_task_flow(target, DEFAULT_POOL)
    return flow_of(target, registry, must_be_known=False, lookup=lookup)


def kept_in(mesh: Mesh) -> Lookup:
    """Finds any registered flow; the store is opened only when one is asked for."""

    def find(reference: str) -> Flow:
        return mesh.flows.definition(reference)

    return find


def submittable_in(mesh: Mesh) -> Lookup:
    """``kept_in`` for what is to be submitted: an archived version is none."""

    def find(reference: str) -> Flow:
        return mesh.flows.plan(reference).flow

    return find


def _is_reference(target: str) -> bool:
    """Whether this is no path: neither is there such a file, nor does it look like one."""
    path = Path(target)
    return not path.is_file() and path.name == target and path.suffix not in FILE_SUFFIXES


def _registered(target: str, registry: Registry, lookup: Lookup) -> Flow:
    from taskmesh.model.validation import check

    try:
        flow = lookup(target)
    except FlowVersionError as error:
        _refuse_code(target, registry)
        raise FlowVersionError(error.flow, f"there is no file {target}, and {error}") from None
    problems = check(flow, registry)
    if problems:
        raise FlowError([f"{target}: {problem}" for problem in problems])
    return flow


def _is_name(target: str) -> bool:
    return ":" in target and not Path(target).exists()


def _refuse_code(target: str, registry: Registry) -> None:
    """A file with code, or a module, was meant as one with a flow."""
    path = Path(target)
    if path.suffix == ".py" or (not path.exists() and path.name in _modules(registry)):
        raise UsageError(f"{target} is code, not a flow file; name a task or a flow in it, as in {path.stem}:NAME")


def _modules(registry: Registry) -> set[str]:
    return {name.partition(":")[0] for name in registry.names()}


def _python_flows(modules: Iterable[str]) -> dict[str, FlowDefinition[Any]]:
    """The Python flows in those of the modules that an app has loaded, by ``module:name``."""
    from taskmesh.tasks.flow import FlowDefinition

    return {
        f"{module}:{name}": value
        for module in modules
        for name, value in getattr(sys.modules.get(module), "__dict__", {}).items()
        if isinstance(value, FlowDefinition)
    }


def _named(name: str, registry: Registry) -> Flow:
    from taskmesh.model.problems import Hints
    from taskmesh.tasks.flow import single_task_flow

    module = name.partition(":")[0]
    if not len(registry):
        raise UsageError(f"no app with tasks is named, so {name!r} is not known here; add -A {module}")
    task = registry.find(name)
    if task is not None:
        return single_task_flow(name, task.pool, task.retry, task.limits, task.guard)
    flows = _python_flows({*_modules(registry), module})
    if name in flows:
        return flows[name].compile()
    hint = Hints([*registry.names(), *flows]).did_you_mean(name)
    raise UsageError(f"{name!r} is neither a file nor a task or flow of the apps that -A names{hint}")


def _require_work(flow: Flow, registry: Registry) -> None:
    """:raises UsageError: this process is to run the nodes, and cannot: an app is missing, or a node type is off."""
    from taskmesh.model.node_types import type_of_task

    nodes = [node for each in flows_in(flow) for node in each.working]
    undos = [node.compensation for node in nodes if node.compensation]
    tasks = [*(node.task for node in nodes if node.task), *(undo.task for undo in undos)]
    types = dict.fromkeys(filter(None, map(type_of_task, tasks)))
    reasons = {each: reason for each in types if (reason := registry.node_types.reason_off(each))}
    if reasons:
        raise UsageError("\n".join(f"node type {each!r} is off here: {reason}" for each, reason in reasons.items()))
    own = [task for task in tasks if not type_of_task(task)]
    if own and registry.is_open:
        _ask_for_app(flow, own)


def _ask_for_app(flow: Flow, tasks: Sequence[str]) -> NoReturn:
    modules = sorted({task.partition(":")[0] for task in tasks if ":" in task})
    options = " ".join(f"-A {module}" for module in modules) or "-A MODULE"
    raise UsageError(
        f"no app with tasks is named, so the tasks of flow {flow.name!r} are not known here; add {options}"
    )


def params_of(pairs: Sequence[str], flow: Flow, registry: Registry) -> dict[str, Value]:
    """The parameters of a run, from ``NAME=VALUE`` texts.

    A value is read as JSON where it is JSON and the flow does not declare a string; else it is text.

    :raises UsageError: also for arguments that the function of a task which runs on its own would not take.
    """
    from taskmesh.tasks.flow import single_task_flow

    params = values_of(pairs, flow)
    task = registry.find(flow.name)
    return task.bind(**params) if task is not None and flow == single_task_flow(task.name, task.pool) else params


def values_of(pairs: Sequence[str], flow: Flow) -> dict[str, Value]:
    """Some parameters of a run, read as those of ``params_of``."""
    declared = {param.name: param.type for param in flow.params}
    return {name: _value(text, declared.get(name)) for name, text in pairs_of(pairs, "-p").items()}


def seconds_of(text: str | None, option: str) -> float | None:
    """A length of time that an option was given."""
    from taskmesh.model.durations import DURATION_RULE, read_duration

    if text is None:
        return None
    seconds = read_duration(float(text) if text.isdecimal() else text)
    if seconds is None:
        raise UsageError(f"{option} {text!r} is no length of time; give {DURATION_RULE}")
    return seconds


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
        value: Value = parsed(text)
    except (ValueError, RecursionError):
        return text
    return value
