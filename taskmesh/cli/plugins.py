"""Commands about node types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskmesh.cli.options import Format, Output
from taskmesh.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from taskmesh.plugins.loading import Plugin

Name = Annotated[str, typer.Argument(metavar="TYPE", help="Node type, as `taskmesh plugins ls` prints it.")]

STYLES = {"on": "green", "off": "dim", "refused": "bold red"}


def ls(output: Output = Format.TEXT) -> None:
    """List the node types that were found with the settings of this directory, and what became of each.

    Workers elsewhere may have others; ask there.
    """
    from taskmesh.cli.output import console, print_json

    found = _found()
    if output is Format.JSON:
        print_json([_document(each) for each in found])
    else:
        console().print(_table(found))


def show(name: Name, output: Output = Format.TEXT) -> None:
    """Show one node type, with the JSON Schema of what a node has below `with`."""
    from taskmesh.cli.output import json_text, print_json, visible

    plugin = _plugin(name, _found())
    document = {**_document(plugin), "schema": plugin.schema}
    if output is Format.JSON:
        print_json(document)
        return
    for key in ("name", "origin", "state", "reason"):
        if document[key]:
            print(visible(f"{key}: {document[key]}"))
    if plugin.schema is not None:
        print(f"schema: {json_text(plugin.schema)}")


def _found() -> Sequence[Plugin]:
    from taskmesh.config import load_settings
    from taskmesh.plugins.catalog import NodeTypes

    return NodeTypes(load_settings).plugins


def _plugin(name: str, found: Sequence[Plugin]) -> Plugin:
    """The one that has the name; those that wanted it, too, are only listed."""
    from taskmesh.model.node_types import unknown_type

    plugin = next((each for each in found if each.name == name), None)
    if plugin is None:
        raise UsageError(unknown_type(name, [each.name for each in found]))
    return plugin


def _document(plugin: Plugin) -> dict[str, Any]:
    return {"name": plugin.name, "origin": plugin.origin, "state": str(plugin.state), "reason": plugin.reason}


def _table(found: Sequence[Plugin]) -> Table:
    from rich.table import Table

    from taskmesh.cli.output import cell

    table = Table(box=None, pad_edge=False)
    for title in ("type", "state", "origin", "why"):
        table.add_column(title)
    for each in found:
        table.add_row(cell(each.name), cell(each.state, STYLES[each.state]), cell(each.origin), cell(each.reason))
    return table
