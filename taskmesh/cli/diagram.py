"""The graph of a flow in notations that people and tools read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from taskmesh.cli.progress import levels_of
from taskmesh.model.flow import Case, Flow, Node
from taskmesh.model.graph import Graph
from taskmesh.model.problems import listed

MAX_NEEDS_LISTED = 6


def text(flow: Flow) -> Iterator[str]:
    """One line for each node, by level: after which nodes it comes."""
    graph = Graph.of(flow)
    levels = levels_of(graph.awaited)
    edges = sum(map(len, graph.parents))
    yield f"{flow.name} {flow.version}: {len(flow.nodes)} nodes, {edges} edges, {max(levels)} levels"
    width = max(len(node.name) for node in flow.nodes)
    task_width = max(len(node.label) for node in flow.nodes)
    for level, node in sorted(zip(levels, flow.nodes, strict=True), key=lambda pair: pair[0]):
        after = f"after {listed(node.needs, MAX_NEEDS_LISTED)}" if node.needs else ""
        undone = f"undone by {node.compensation.task}" if node.compensation else ""
        by = "" if node.trigger.is_plain else f"by {node.trigger}"
        if node.hook:
            after, by = f"hook: {node.hook} of {node.needs[0] if node.needs else 'the flow'}", ""
        when = f"when {node.when}" if node.when else ""
        notes = "; ".join(filter(None, (after, by, when, *_ways(node), undone)))
        yield f"{level:>3}  {node.name:<{width}}  {node.label:<{task_width}}  {notes}".rstrip()


def _ways(node: Node) -> Iterator[str]:
    """The cases of a switch in words."""
    for case in _cases(node):
        leads = listed(case.then, MAX_NEEDS_LISTED) or "nothing"
        yield f"to {leads} " + (f"when {case.when}" if case.when else "else")


def mermaid(flow: Flow) -> Iterator[str]:
    """A Mermaid flowchart."""
    graph = Graph.of(flow)
    yield "flowchart LR"
    for position, node in enumerate(flow.nodes):
        yield f"    n{position}{_drawn(node)}"
    for parent, child in _edges(graph):
        if flow.nodes[child].hook:
            yield f"    n{parent} -. {flow.nodes[child].hook} .-> n{child}"
            continue
        names = _cases_to(flow.nodes[parent], graph.names[child])
        yield f'    n{parent} -- "{names}" --> n{child}' if names else f"    n{parent} --> n{child}"
    for position, node in enumerate(flow.nodes):
        if node.compensation:
            yield f'    n{position} -. undo .-> u{position}["{node.compensation.task}"]'


def _drawn(node: Node) -> str:
    if node.hook:
        return f'(["{node.name}"])'
    return f'{{"{node.name}"}}' if node.switch else f'["{node.name}"]'


def dot(flow: Flow) -> Iterator[str]:
    """A Graphviz digraph."""
    graph = Graph.of(flow)
    yield f'digraph "{_quoted(flow.name)}" {{'
    yield "    rankdir=LR; node [shape=box];"
    for node in flow.nodes:
        shape = " shape=diamond" if node.switch else " style=dotted" if node.hook else ""
        yield f'    "{node.name}" [tooltip="{_quoted(node.label)}"{shape}];'
    for parent, child in _edges(graph):
        names = _cases_to(flow.nodes[parent], graph.names[child])
        label = f' [label="{_quoted(names)}"]' if names else " [style=dotted]" if flow.nodes[child].hook else ""
        yield f'    "{graph.names[parent]}" -> "{graph.names[child]}"{label};'
    for node in flow.nodes:
        if node.compensation:
            undo = f"undo:{node.name}"
            yield f'    "{undo}" [label="{undo}" tooltip="{_quoted(node.compensation.task)}" style=dashed];'
            yield f'    "{node.name}" -> "{undo}" [style=dashed];'
    yield "}"


def document(flow: Flow) -> dict[str, Any]:
    """The graph as plain data."""
    levels = levels_of(Graph.of(flow).awaited)
    return {
        "flow": flow.name,
        "version": flow.version,
        "nodes": {
            node.name: {
                "task": node.label,
                "pool": node.pool,
                "needs": list(node.needs),
                "level": level,
                **_choices(node),
                **({"compensate": node.compensation.task} if node.compensation else {}),
            }
            for node, level in zip(flow.nodes, levels, strict=True)
        },
    }


def _choices(node: Node) -> dict[str, Any]:
    """What makes the node run or not, where it is not that all it needs has succeeded."""
    cases = [{"when": case.when or None, "then": list(case.then), "name": case.name} for case in _cases(node)]
    if node.hook:
        return {"hook": str(node.hook)}
    return {
        **({} if node.trigger.is_plain else {"rule": str(node.trigger)}),
        **({"when": node.when} if node.when else {}),
        **({"switch": cases} if cases else {}),
    }


def _cases(node: Node) -> tuple[Case, ...]:
    return node.switch.cases if node.switch else ()


def _cases_to(node: Node, target: str) -> str:
    """The names of the cases of a switch that lead to a node."""
    return ", ".join(dict.fromkeys(case.name for case in _cases(node) if target in case.then))


def _edges(graph: Graph) -> Iterator[tuple[int, int]]:
    for child, parents in enumerate(graph.parents):
        for parent in parents:
            yield parent, child


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
