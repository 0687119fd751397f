"""Commands that turn foreign files into flows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taskmesh.errors import UsageError

Recording = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="A workflow in WfCommons format, schema 1.3-1.5.", show_default=False),
]
Scale = Annotated[float, typer.Option("--scale", min=0.0, help="Replayed seconds for each recorded second.")]
MaxBytes = Annotated[int, typer.Option("--max-bytes", min=0, help="What a node hands on at most.")]
Destination = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FLOW", help="File to write.", show_default="standard output")
]


def wfcommons(
    file: Recording,
    scale: Scale = 0.001,
    max_bytes: MaxBytes = 65_536,
    output: Destination = None,
) -> None:
    """Turn a recorded workflow into a flow that replays it.

    Each node takes its recorded time times --scale and hands on as many bytes as its recorded output files had, cut
    to --max-bytes. Run it with `taskmesh run FLOW -A workers.replay`.
    """
    from taskmesh.flows import dump_flow
    from taskmesh.flows.wfcommons import Replay, import_wfcommons_file

    flow = import_wfcommons_file(file, Replay(scale, max_bytes))
    text = dump_flow(flow)
    if output is None:
        print(text, end="")
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}; give another path with -o") from None
    edges = sum(len(node.needs) for node in flow.nodes)
    print(f"wrote {output}: flow {flow.name}, {len(flow.nodes)} nodes, {edges} edges", end="; ")
    print(f"recorded seconds x {scale:g}, at most {max_bytes:,} bytes out of each node")
