"""Commands that change schedules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from taskmesh.cli.options import Apps, Format, Output, Params, Tags, Target
from taskmesh.cli.schedule_views import ScheduleId, print_schedule
from taskmesh.errors import UsageError
from taskmesh.model.durations import DURATION_RULE, read_duration

if TYPE_CHECKING:
    from taskmesh.model.schedules.options import ScheduleOptions

NewId = Annotated[str, typer.Argument(metavar="ID", help="Id of the schedule; one with this id is replaced.")]
Cron = Annotated[
    str, typer.Option("--cron", metavar="LINE", help="Due by a cron line of 5 fields, or 6: second first.")
]
Every = Annotated[str | None, typer.Option("--every", metavar="TIME", help="Due every so often: 90s, 15m, 2h.")]
At = Annotated[str | None, typer.Option("--at", metavar="MOMENT", help="Due once: 2026-03-29T02:30:00.")]
Zone = Annotated[str, typer.Option("--zone", metavar="NAME", help="Time zone, by its IANA name.")]
Policy = Annotated[
    str,
    typer.Option(
        "--overlap",
        help="While a run has not ended: skip, buffer_one, buffer_all, cancel_other, terminate_other, allow_all.",
    ),
]
Late = Annotated[str, typer.Option("--catch-up", help="Which ticks run that came too late: all, one, none.")]
Window = Annotated[str, typer.Option("--catch-up-window", metavar="TIME", help="Nothing later is caught up.")]
Jitter = Annotated[str, typer.Option("--jitter", metavar="TIME", help="A run begins up to so much after its tick.")]
Deadline = Annotated[str | None, typer.Option("--deadline", metavar="TIME", help="A run that takes longer fails.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept with the schedule, with your name.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A file with schedules, in YAML or JSON.")]
First = Annotated[str, typer.Option("--from", metavar="MOMENT", help="Where the range begins, in the schedule's zone.")]
Last = Annotated[str, typer.Option("--to", metavar="MOMENT", help="Where it ends; both ends belong to it.")]
Reverse = Annotated[bool, typer.Option("--reverse", help="Begin with the newest tick.")]
MaxActive = Annotated[int, typer.Option("--max-active", min=1, max=1000, help="How many of these runs go on at once.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say which ticks would run.")]


def add(
    schedule_id: NewId,
    target: Target,
    app: Apps,
    param: Params,
    tag: Tags,
    cron: Cron = "",
    every: Every = None,
    at: At = None,
    zone: Zone = "UTC",
    overlap: Policy = "skip",
    catch_up: Late = "one",
    catch_up_window: Window = "1d",
    jitter: Jitter = "0",
    deadline: Deadline = None,
    output: Output = Format.TEXT,
) -> None:
    """Have a flow or a task run by itself, or replace the schedule with this id.

    Parameters may refer to ${schedule.time} and ${schedule.id}. The flow is stored with the schedule.
    """
    from taskmesh.cli.targets import flow_to_submit, opened, pairs_of, params_of, submittable_in

    times = {"every": every, "catch_up_window": catch_up_window, "jitter": jitter, "deadline": deadline}
    options: dict[str, Any] = {f"{name}_seconds": _seconds(name, text) for name, text in times.items() if text}
    options |= {"cron": cron, "at": at, "zone": zone, "overlap": overlap, "catch_up": catch_up}
    with opened(app) as mesh:
        flow = flow_to_submit(target, mesh.registry, submittable_in(mesh))
        options["params"] = params_of(param, flow, mesh.registry)
        options["tags"] = pairs_of(tag, "--tag")
        given = {name: value for name, value in options.items() if value not in (None, "")}
        made = mesh.schedule(flow, id=schedule_id, **cast("ScheduleOptions", given))
        print_schedule(mesh.schedules, made, output)


def apply(file: File, app: Apps, output: Output = Format.TEXT) -> None:
    """Put all schedules of a file. What is so already stays; schedules that the file does not name are left alone."""
    from taskmesh.cli.output import print_json
    from taskmesh.cli.targets import flow_to_submit, opened, submittable_in
    from taskmesh.flows import load_schedule_file

    with opened(app) as mesh:
        # Nothing is stored before all flows could be read.
        find = submittable_in(mesh)
        drafts = [
            (draft.schedule, flow_to_submit(draft.flow, mesh.registry, find)) for draft in load_schedule_file(file)
        ]
        changed = {schedule.id: mesh.put_schedule(schedule, flow) for schedule, flow in drafts}
    if output is Format.JSON:
        print_json([{"id": each, "changed": is_new} for each, is_new in changed.items()])
    for each, is_new in changed.items() if output is Format.TEXT else ():
        print(f"{'put' if is_new else 'unchanged'} {each}")


def pause(schedule_id: ScheduleId, reason: Reason = "", output: Output = Format.TEXT) -> None:
    """Let a schedule begin no run until it is resumed; what is due meanwhile is skipped."""
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        mesh.schedules.pause(schedule_id, reason)
        print_schedule(mesh.schedules, mesh.schedules.get(schedule_id), output)


def resume(schedule_id: ScheduleId, output: Output = Format.TEXT) -> None:
    """Let a paused schedule begin runs again."""
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        mesh.schedules.resume(schedule_id)
        print_schedule(mesh.schedules, mesh.schedules.get(schedule_id), output)


def trigger(schedule_id: ScheduleId, output: Output = Format.TEXT) -> None:
    """Begin a run of a schedule now, beside whatever runs."""
    from taskmesh.cli.output import print_json
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        run_id = mesh.schedules.trigger(schedule_id)
    if output is Format.JSON:
        print_json({"id": schedule_id, "run_id": run_id})
    else:
        print(run_id)


def backfill(
    schedule_id: ScheduleId,
    first: First,
    last: Last,
    reverse: Reverse = False,
    max_active: MaxActive = 1,
    dry_run: DryRun = False,
    output: Output = Format.TEXT,
) -> None:
    """Run the ticks of a past range, so many at a time. A tick that has become a run before does not run again."""
    from taskmesh.cli.output import print_json
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        ticks = mesh.schedules.backfill(
            schedule_id, first, last, reverse=reverse, max_active=max_active, dry_run=dry_run
        )
    if output is Format.JSON:
        print_json({"id": schedule_id, "dry_run": dry_run, "ticks": [tick.isoformat() for tick in ticks]})
        return
    for tick in ticks:
        print(tick.isoformat())
    typer.echo(f"{len(ticks)} ticks {'would' if dry_run else 'will'} run", err=True)


def rm(schedule_id: ScheduleId, output: Output = Format.TEXT) -> None:
    """Remove a schedule; runs that have begun go on."""
    from taskmesh.cli.output import print_json
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        mesh.schedules.delete(schedule_id)
    if output is Format.JSON:
        print_json({"id": schedule_id, "removed": True})
    else:
        print(f"removed {schedule_id}")


def _seconds(name: str, text: str) -> float:
    # On a command line a number of seconds is text, too.
    seconds = read_duration(float(text)) if text.replace(".", "", 1).isdecimal() else read_duration(text)
    if seconds is None:
        raise UsageError(f"--{name.replace('_', '-')} must be {DURATION_RULE}, not {text!r}")
    return seconds
