"""The rules for hooks: what they may be, what they may refer to, and the order in which they stand in a flow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from taskmesh.model.arguments import args_path, path_of
from taskmesh.model.choices import Examiner
from taskmesh.model.flow import ALL_PARAMS, Node
from taskmesh.model.hook_references import compiler_for
from taskmesh.model.hooks import Hook, hook_name
from taskmesh.model.problems import Path
from taskmesh.model.references import read_template
from taskmesh.model.triggers import Trigger

NO_ARGS = f"args must map names to values, or be {ALL_PARAMS}"


def hooks_by_node(nodes: Iterable[Node]) -> dict[str, list[Node]]:
    """The hooks of each node that has any, by its name; those of the flow stand below the empty name."""
    found: dict[str, list[Node]] = {}
    for node in nodes:
        if node.hook:
            found.setdefault(_observed(node), []).append(node)
    return found


def in_order(hooks: Sequence[Node], nodes: Sequence[Node]) -> list[Node]:
    """The hooks in the one order that a flow has them in: those of its nodes in their order, then its own."""
    index, kinds = {node.name: at for at, node in enumerate(nodes)}, list(Hook)

    def place(node: Node) -> tuple[int, int]:
        kind = kinds.index(node.hook) if node.hook else 0
        return index.get(_observed(node), len(index)), kind

    return sorted(hooks, key=place)


def look_at_hooks(draft: Iterable[Node], nodes: Iterable[Node], examiner: Examiner) -> Iterator[tuple[Node, Path]]:
    """Finds what is wrong with hooks beside their tasks; ``nodes`` are all that are no hooks, with all that they need.

    Yields each hook with its place in a flow file.
    """
    known, found = {node.name: node for node in nodes}, set()
    for node in draft:
        if node.hook and node.name in found:
            examiner.found(path_of(node), "two hooks observe the same end of the same thing; keep one of them")
        if node.hook:
            found.add(node.name)
            yield node, _look_at_hook(node, known, examiner)


def _look_at_hook(node: Node, nodes: Mapping[str, Node], examiner: Examiner) -> Path:
    path, observed = path_of(node), _observed(node)
    work = node.task, node.args, node.needs[:1], node.pool, node.retry, node.limits, node.guard
    if not node.hook or node != Node(hook_name(node.hook, observed), *work, trigger=Trigger(hook=node.hook)):
        examiner.found(path, "a hook runs a task and observes one node, or the flow; it can have nothing else")
    for name in node.needs:
        examiner.know_node(name, path, "observes")
    if isinstance(node.args, str) and node.args != ALL_PARAMS:
        examiner.found((*path, "args"), NO_ARGS)
    _look_at_references(node, nodes, path, examiner)
    return path


def _look_at_references(node: Node, nodes: Mapping[str, Node], path: Path, examiner: Examiner) -> None:
    observed = _observed(node)
    reading = read_template(node.args, args_path(node), compiler_for(node))
    for problem in reading.problems:
        examiner.found(problem.path, problem.message)
    for name, place in reading.params.items():
        examiner.know_param(name, place)
    for name, place in reading.nodes.items():
        examiner.know_node(name, place, "refers to")
        if observed in nodes and name in nodes and name not in (observed, *nodes[observed].needs):
            known = f"a hook may refer to {observed!r} and to what that needs"
            examiner.found(place, f"it refers to {name!r}, which may not have ended by then; {known}")


def _observed(node: Node) -> str:
    """The node that a hook observes; empty for the flow."""
    return node.needs[0] if node.needs else ""
