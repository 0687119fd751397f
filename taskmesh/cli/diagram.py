"""The graph of a flow in notations that people and tools read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from taskmesh.cli.progress import levels_of
from taskmesh.model.flow import Flow
from taskmesh.model.graph import Graph
from taskmesh.model.problems import listed

MAX_NEEDS_LISTED = 6


def text(flow: Flow) -> Iterator[str]:
    """One line for each node, by level: after which nodes it comes."""
    graph = Graph.of(flow)
    levels = levels_of(graph.parents)
    edges = sum(map(len, graph.parents))
    yield f"{flow.name} {flow.version}: {len(flow.nodes)} nodes, {edges} edges, {max(levels)} levels"
    width = max(len(node.name) for node in flow.nodes)
    task_width = max(len(node.task) for node in flow.nodes)
    for level, node in sorted(zip(levels, flow.nodes, strict=True), key=lambda pair: pair[0]):
        after = f"after {listed(node.needs, MAX_NEEDS_LISTED)}" if node.needs else ""
        undone = f"undone by {node.compensation.task}" if node.compensation else ""
        notes = "; ".join(filter(None, (after, undone)))
        yield f"{level:>3}  {node.name:<{width}}  {node.task:<{task_width}}  {notes}".rstrip()


def mermaid(flow: Flow) -> Iterator[str]:
    """A Mermaid flowchart."""
    graph = Graph.of(flow)
    yield "flowchart LR"
    for position, node in enumerate(flow.nodes):
        yield f'    n{position}["{node.name}"]'
    for parent, child in _edges(graph):
        yield f"    n{parent} --> n{child}"
    for position, node in enumerate(flow.nodes):
        if node.compensation:
            yield f'    n{position} -. undo .-> u{position}["{node.compensation.task}"]'


def dot(flow: Flow) -> Iterator[str]:
    """A Graphviz digraph."""
    graph = Graph.of(flow)
    yield f'digraph "{_quoted(flow.name)}" {{'
    yield "    rankdir=LR; node [shape=box];"
    for node in flow.nodes:
        yield f'    "{node.name}" [tooltip="{_quoted(node.task)}"];'
    for parent, child in _edges(graph):
        yield f'    "{graph.names[parent]}" -> "{graph.names[child]}";'
    for node in flow.nodes:
        if node.compensation:
            undo = f"undo:{node.name}"
            yield f'    "{undo}" [label="{undo}" tooltip="{_quoted(node.compensation.task)}" style=dashed];'
            yield f'    "{node.name}" -> "{undo}" [style=dashed];'
    yield "}"


def document(flow: Flow) -> dict[str, Any]:
    """The graph as plain data."""
    levels = levels_of(Graph.of(flow).parents)
    return {
        "flow": flow.name,
        "version": flow.version,
        "nodes": {
            node.name: {
                "task": node.task,
                "pool": node.pool,
                "needs": list(node.needs),
                "level": level,
                **({"compensate": node.compensation.task} if node.compensation else {}),
            }
            for node, level in zip(flow.nodes, levels, strict=True)
        },
    }


def _edges(graph: Graph) -> Iterator[tuple[int, int]]:
    for child, parents in enumerate(graph.parents):
        for parent in parents:
            yield parent, child


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
