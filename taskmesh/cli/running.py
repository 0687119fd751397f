"""Commands that start runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskmesh.cli.options import Apps, Format, NewRunId, Output, Params, Tags

if TYPE_CHECKING:
    from taskmesh.app.mesh import Mesh
    from taskmesh.app.run import Run
    from taskmesh.client.details import RunDetails

RUN_FAILED = 1

Target = Annotated[str, typer.Argument(metavar="FILE|TASK", help="A flow in YAML or JSON, or a task: module:function.")]

Keep = Annotated[bool, typer.Option("--keep", help="Leave the run to other workers on Ctrl-C, rather than cancel it.")]

NoWorker = Annotated[bool, typer.Option("--no-worker", help="Leave the work to workers that run elsewhere.")]

Threads = Annotated[int, typer.Option("--threads", min=1, max=1024, help="Tasks at once in this process.")]

RESULT_LENGTH = 2000


def run(
    target: Target,
    app: Apps = [],  # noqa: B006
    param: Params = [],  # noqa: B006
) -> None: ...
