"""Commands that tell how this taskmesh is set up."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from taskmesh.cli.options import Format, Output
from taskmesh.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    from taskmesh.config import Origin, Settings
    from taskmesh.model.settings_revisions import SettingsRevision


def show(output: Output = Format.TEXT) -> None:
    """Show every setting that a worker here would have, its value, and where that comes from. Secrets are masked.

    What was pushed to all workers is asked of the store; where that does not answer, the rest is shown.
    """
    from taskmesh.cli.output import cell, console, plain_table, print_json
    from taskmesh.cli.pushing import heading
    from taskmesh.config import load_settings

    revision = _pushed(load_settings())
    origins = _origins(revision)
    if output is Format.JSON:
        print_json({each.key: {"value": each.value_shown, "origin": each.origin} for each in origins})
        return
    table = plain_table("setting", "value", "comes from")
    for each in origins:
        table.add_row(cell(each.key), cell(each.value_shown), cell(each.origin))
    out = console()
    out.print(table)
    if revision is not None:
        out.print(cell(f"pushed to all workers: {heading(revision)}"), soft_wrap=True)


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


def _pushed(settings: Settings) -> SettingsRevision | None:
    """The revision that holds, as far as the store tells; no embedded store is made for that."""
    from taskmesh.cli.targets import opened

    if settings.is_embedded and not Path(settings.embedded.directory).is_dir():
        return None
    try:
        with opened(settings=settings) as mesh:
            return mesh.config.current()
    except UnavailableError as error:
        typer.echo(f"taskmesh: what was pushed to all workers is not known: {error}", err=True)
        return None


def _origins(revision: SettingsRevision | None) -> list[Origin]:
    from taskmesh.config import explain
    from taskmesh.config.pushed import Pushed

    if revision is not None:
        try:
            return explain(pushed=Pushed(revision.number, revision.values))
        except ConfigError as error:
            typer.echo(f"taskmesh: what was pushed is not taken over here: {error}", err=True)
    return explain()
