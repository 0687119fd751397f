"""Options that several commands have, written once."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any, NoReturn

import typer


class Format(StrEnum):
    """Whom a command prints for."""

    TEXT = "text"  # people
    JSON = "json"  # programs


def parsed(text: str) -> Any:
    """The value that JSON says; ``NaN`` and ``Infinity``, which only some programs take for JSON, are none.

    :raises ValueError: it is no JSON.
    :raises RecursionError: it is nested too deeply.
    """
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no value of JSON")


Output = Annotated[Format, typer.Option("--output", "-o", help="Print text for people, or JSON for programs.")]

Apps = Annotated[
    list[str],
    typer.Option(
        "--app",
        "-A",
        metavar="MODULE[:ATTR]",
        default_factory=list,
        show_default="worker.modules of the settings",
        help="Module that holds the Mesh with the tasks; looked for in this directory, too. May be repeated.",
    ),
]

Target = Annotated[
    str,
    typer.Argument(
        metavar="FLOW",
        help="A file in YAML or JSON; module:name of a task or a Python flow of an app; or a registered flow: NAME, "
        "NAME@NUMBER, NAME@latest.",
        show_default=False,
    ),
]

Params = Annotated[
    list[str],
    typer.Option(
        "--param",
        "-p",
        metavar="NAME=VALUE",
        default_factory=list,
        show_default=False,
        help="A parameter of the run: JSON, or text where it is no JSON or the flow declares text. May be repeated.",
    ),
]

Tags = Annotated[
    list[str],
    typer.Option(
        "--tag",
        metavar="NAME=TEXT",
        default_factory=list,
        show_default=False,
        help="A tag of the run. May be repeated.",
    ),
]

Meta = Annotated[
    list[str],
    typer.Option(
        "--meta",
        metavar="KEY=TEXT",
        default_factory=list,
        show_default=False,
        help="Metadata of the run, which reaches each of its tasks. May be repeated.",
    ),
]

RequestId = Annotated[str | None, typer.Option("--request-id", help="Id of the request that the run serves.")]
Tenant = Annotated[str | None, typer.Option("--tenant", help="For whom the run is.")]
TraceParent = Annotated[
    str | None, typer.Option("--traceparent", help="The trace that the run is part of, as W3C Trace Context has it.")
]

NewRunId = Annotated[
    str | None,
    typer.Option("--id", help="Id of the run. The same id with the same body is the same run, never a second."),
]

Deadline = Annotated[
    str | None,
    typer.Option(
        "--deadline",
        metavar="TIME",
        show_default="the timeout of the flow",
        help="The run may take so long, as 90s, 2h or 7d; what has not ended then has failed.",
    ),
]

RunId = Annotated[
    str, typer.Argument(metavar="RUN", help="Id of a run, as `taskmesh ls` prints it.", show_default=False)
]

Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many at most; the newest first.")]
