"""The arguments that a node gives its task, held to what is known of that."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from taskmesh.model.catalog import TaskInfo
from taskmesh.model.flow import ALL_PARAMS, UNDO_RESULT, Node
from taskmesh.model.node_types import type_of_task
from taskmesh.model.problems import Hints, Path, Problem, quoted
from taskmesh.model.values import Value


def args_path(node: Node) -> Path:
    """Where the arguments of a node, or of a hook, stand."""
    return (*path_of(node), "with" if type_of_task(node.task) else "args")


def path_of(node: Node) -> Path:
    """Where a node stands in a flow file; a hook stands with what it observes."""
    above: Path = ("nodes", *node.needs[:1]) if node.needs else ()
    return (*above, "hooks", str(node.hook)) if node.hook else ("nodes", node.name)


def argument_places(node: Node) -> Iterator[tuple[Value, Path]]:
    """The arguments of a node, as far as they are said in places of their own."""
    if node.step is None or isinstance(node.args, str):
        yield node.args, args_path(node)
    else:
        for name, value in node.args.items():
            yield value, ("nodes", node.name, *node.step.place_of(name))


def named_arguments(node: Node, params: Collection[str]) -> Mapping[str, Value] | None:
    """The arguments of a node of a flow with these parameters, by name; None where only a run will tell."""
    if isinstance(node.args, Mapping):
        return node.args
    if node.args == ALL_PARAMS and params:
        return {name: f"${{params.{name}}}" for name in params}
    return None


def argument_problems(node: Node, info: TaskInfo) -> Iterator[Problem]:
    """What is wrong with the arguments of a node, as far as ``info`` knows what they should be."""
    path, known, given = args_path(node), dict(info.parameters), node.args
    for name in given:
        if name not in known and not info.accepts_any:
            hint = Hints(known).did_you_mean(name)
            yield Problem((*path, name), f"task {info.name!r} takes no argument {name!r}{hint}", on_key=True)
    missing = [name for name, required in known.items() if required and name not in given]
    if missing:
        sentence = f"task {info.name!r} also needs the argument{'s'[: len(missing) > 1]} {quoted(missing)}"
        yield Problem(path, sentence)
    if type_of_task(info.name):
        yield from _type_problems(node, info, path)


def undo_problems(by: TaskInfo | None, given: Collection[str]) -> Iterator[str]:
    """What is wrong with these arguments for the task that undoes their node, which gets its output, too."""
    if UNDO_RESULT in given:
        yield f"what undoes it gets its output as {UNDO_RESULT!r}, so no argument of it can have that name"
    lacking = [name for name, must in by.parameters if must and name not in (*given, UNDO_RESULT)] if by else []
    if lacking and by:
        yield f"task {by.name!r} cannot undo it: it needs {quoted(lacking)}, which the node is not given"


def _type_problems(node: Node, info: TaskInfo, path: Path) -> Iterator[Problem]:
    if isinstance(node.args, Mapping):
        for below, sentence in info.argument_findings(node.args):
            yield Problem((*path, *below), sentence)
