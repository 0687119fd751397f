"""Commands that tell how this taskmesh is set up."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

from taskmesh.cli.options import Format, Output


def show(output: Output = Format.TEXT) -> None:
    """Show every setting, its value, and where that comes from. Secrets are masked."""
    from taskmesh.cli.output import cell, console, plain_table, print_json
    from taskmesh.config import explain

    origins = explain()
    if output is Format.JSON:
        print_json({each.key: {"value": each.value_shown, "origin": each.origin} for each in origins})
        return
    table = plain_table("setting", "value", "comes from")
    for each in origins:
        table.add_row(cell(each.key), cell(each.value_shown), cell(each.origin))
    console().print(table)


def version(output: Output = Format.TEXT) -> None:
    """Print the versions of taskmesh and of Python."""
    from taskmesh.cli.output import print_json

    try:
        installed = version_of("taskmesh")
    except PackageNotFoundError:
        installed = "unknown (not installed)"
    if output is Format.JSON:
        print_json({"taskmesh": installed, "python": platform.python_version()})
    else:
        print(f"taskmesh {installed}, Python {platform.python_version()}")
