"""Commands that start runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from typing import TYPE_CHECKING, Annotated

import typer

from taskmesh.cli.options import Apps, Deadline, Format, NewRunId, Output, Params, Tags, Target
from taskmesh.errors import ResultTimeoutError, TaskmeshError

if TYPE_CHECKING:
    from rich.console import Console

    from taskmesh.app.mesh import Mesh
    from taskmesh.app.run import Run
    from taskmesh.client.details import RunDetails
    from taskmesh.model.flow import Flow

RUN_FAILED = 1
RESULT_LENGTH = 500

CANCEL_SECONDS = 5.0
"""How long a command that was interrupted goes on working, so that the run does not stay half cancelled."""

HINT_SECONDS = 5.0

Threads = Annotated[int, typer.Option("--threads", min=1, max=1024, help="How many tasks this process runs at once.")]
LocalWorker = Annotated[
    bool,
    typer.Option(
        "--worker", help="Also run a worker here when servers are configured; it must know every task of its pools."
    ),
]
Keep = Annotated[bool, typer.Option("--keep", help="On Ctrl-C leave the run to other workers, rather than cancel it.")]


def run(
    target: Target,
    app: Apps,
    param: Params,
    tag: Tags,
    run_id: NewRunId = None,
    deadline: Deadline = None,
    threads: Threads = 4,
    keep: Keep = False,
    worker: LocalWorker = False,
    output: Output = Format.TEXT,
) -> None:
    """Run a flow to its end, with a live view.

    Where no servers are named in the settings, a worker inside this command does the work, with a store of its own
    in .taskmesh, so `taskmesh ls` and `taskmesh show` know the run afterwards. Else the workers of those servers do it.
    """
    from taskmesh.cli.targets import flow_of, opened, pairs_of, params_of, seconds_of, submittable_in

    deadline_seconds = seconds_of(deadline, "--deadline")

    with opened(app) as mesh:
        works_here = worker or mesh.settings.is_embedded
        flow = flow_of(target, mesh.registry, works_here, submittable_in(mesh))
        params, tags = params_of(param, flow, mesh.registry), pairs_of(tag, "--tag")
        with working(mesh, threads if works_here else 0, flow):
            started = mesh.submit_params(flow, params, id=run_id, tags=tags, deadline_seconds=deadline_seconds)
            with hinting(started):
                details = _attend(started, keep, output)
    end_as(details)


def submit(
    target: Target,
    app: Apps,
    param: Params,
    tag: Tags,
    run_id: NewRunId = None,
    deadline: Deadline = None,
    output: Output = Format.TEXT,
) -> None:
    """Submit a run and return at once; workers do the work.

    With -A, tasks and their parameters are checked here. Without, the workers must know the tasks.
    """
    from taskmesh.cli.output import print_json
    from taskmesh.cli.targets import flow_to_submit, opened, pairs_of, params_of, seconds_of, submittable_in

    deadline_seconds = seconds_of(deadline, "--deadline")

    with opened(app) as mesh:
        flow = flow_to_submit(target, mesh.registry, submittable_in(mesh))
        params = params_of(param, flow, mesh.registry)
        tags = pairs_of(tag, "--tag")
        submitted = mesh.submit_params(flow, params, id=run_id, tags=tags, deadline_seconds=deadline_seconds)
    if output is Format.JSON:
        print_json({"run_id": submitted.id, "flow": flow.name, "version": flow.version})
    else:
        print(submitted.id)


@contextmanager
def working(mesh: Mesh, threads: int, *flows: Flow) -> Iterator[None]:
    """A worker in this process, also for the pools of ``flows``, while the block runs; none for 0 threads."""
    if threads == 0:
        yield
        return
    from taskmesh.model.subflows import flows_in

    pools = sorted({pool for flow in flows for each in flows_in(flow) for pool in each.pools})
    with mesh.local_worker(threads, pools):
        yield


@contextmanager
def hinting(started: Run, seconds: float = HINT_SECONDS) -> Iterator[None]:
    """Say so when nothing of a run begins for a while: most often no worker is there for it."""
    timer = Timer(seconds, _hint, [started])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _hint(started: Run) -> None:
    try:
        waits = started.details().started_at is None
    except TaskmeshError:
        return
    if waits:
        sentence = f"nothing of run {started.id} has begun; `taskmesh explain {started.id}` says what it waits for"
        typer.echo(sentence, err=True)


def end_as(*runs: RunDetails) -> None:
    """End the command with the code that says whether all of the runs succeeded."""
    if any(details.status != "succeeded" for details in runs):
        raise typer.Exit(RUN_FAILED)


def _attend(started: Run, keep: bool, output: Format) -> RunDetails:
    from taskmesh.cli.output import console

    try:
        return _print_document(started) if output is Format.JSON else _show(started, console())
    except KeyboardInterrupt:
        typer.echo(_leave(started, keep), err=True)
        raise


def _leave(started: Run, keep: bool) -> str:
    if keep:
        return f"left run {started.id}; `taskmesh watch {started.id}` follows it once a worker goes on with it"
    if not started.cancel():
        return f"run {started.id} had ended"
    typer.echo(f"cancelling run {started.id}", err=True)
    try:
        started.wait(CANCEL_SECONDS)
    except ResultTimeoutError:
        return f"run {started.id} will be cancelled once what runs of it has ended"
    return f"cancelled run {started.id}"


def _print_document(started: Run) -> RunDetails:
    from taskmesh.cli.output import print_json, run_document

    status = started.wait()
    details = started.details()
    result = started.result() if status == "succeeded" else None
    print_json({**run_document(details), "result": result, "error": details.error})
    return details


def _show(started: Run, console: Console) -> RunDetails:
    from taskmesh.cli.live import follow
    from taskmesh.cli.output import json_text, shortened
    from taskmesh.cli.summary import print_summary

    details = follow(started, console)
    print_summary(details, console)
    if details.status == "succeeded":
        result = shortened(json_text(started.result(), indent=None), RESULT_LENGTH)
        console.print(f"result: {result}", soft_wrap=True, markup=False)
    return details
