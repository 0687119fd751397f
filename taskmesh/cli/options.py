"""Options that several commands have, written once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """What a command prints for."""

    TEXT = "text"  # people
    JSON = "json"  # programs


Output = Annotated[Format, typer.Option("--output", "-o", help="Print text for people, or JSON for programs.")]

Apps = Annotated[
    list[str],
    typer.Option(
        "--app",
        "-A",
        metavar="MODULE[:ATTR]",
        help="Module that holds the Mesh with the tasks; looked for in this directory too. May be repeated.",
    ),
]

Params = Annotated[
    list[str],
    typer.Option("--param", "-p", metavar="NAME=VALUE", help="A parameter of the run; JSON, or text. May be repeated."),
]

RunId = Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, as `taskmesh ls` prints it.")]

NewRunId = Annotated[
    str | None, typer.Option("--id", help="Id of the run; giving the same id and body again gives the same run.")
]

Tags = Annotated[list[str], typer.Option("--tag", metavar="NAME=TEXT", help="A tag of the run. May be repeated.")]

FlowFile = Annotated[Path, typer.Argument(metavar="FILE", help="A flow in YAML or JSON.")]

Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many at most; the newest first.")]
