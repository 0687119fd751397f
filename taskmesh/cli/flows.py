"""Commands that look at flow files without running them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from taskmesh.cli.options import Apps, Format, Output, Target
from taskmesh.errors import FlowError


class GraphFormat(StrEnum):
    """How a graph is written down."""

    TEXT = "text"
    MERMAID = "mermaid"
    DOT = "dot"
    JSON = "json"


Style = Annotated[GraphFormat, typer.Option("--format", "-f", help="How to write the graph down.")]


def graph(
    target: Target,
    app: Apps,
    style: Style = GraphFormat.TEXT,
    output: Output = Format.TEXT,
) -> None:
    """Print the DAG of a flow: as text, Mermaid, Graphviz DOT or JSON."""
    from taskmesh.cli import diagram
    from taskmesh.cli.output import print_json
    from taskmesh.cli.targets import flow_of, kept_in, opened

    with opened(app) as mesh:
        flow = flow_of(target, mesh.registry, False, kept_in(mesh))
    if output is Format.JSON or style is GraphFormat.JSON:
        print_json(diagram.document(flow))
        return
    write = {GraphFormat.MERMAID: diagram.mermaid, GraphFormat.DOT: diagram.dot}.get(style, diagram.text)
    print("\n".join(write(flow)))


def validate(target: Target, app: Apps, output: Output = Format.TEXT) -> None:
    """Check a flow and print everything that is wrong with it. With -A, its tasks are checked, too."""
    from taskmesh.cli.output import print_json
    from taskmesh.cli.targets import flow_of, kept_in, opened

    try:
        with opened(app) as mesh:
            flow = flow_of(target, mesh.registry, False, kept_in(mesh))
    except FlowError as error:
        if output is Format.JSON:
            print_json({"valid": False, "problems": list(error.problems)})
            raise typer.Exit(2) from None
        raise
    edges = sum(len(node.needs) for node in flow.nodes)
    facts = {"flow": flow.name, "version": flow.version, "nodes": len(flow.nodes), "edges": edges}
    if output is Format.JSON:
        print_json({"valid": True, **facts})
    else:
        print(f"{target} is valid: flow {flow.name} {flow.version}, {len(flow.nodes)} nodes, {edges} edges")
