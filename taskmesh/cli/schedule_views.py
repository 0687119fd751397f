"""Commands that show schedules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskmesh.cli.options import Format, Output
from taskmesh.model.durations import duration_text

if TYPE_CHECKING:
    from rich.table import Table

    from taskmesh.client.schedules import ScheduleBox, ScheduleDetails
    from taskmesh.model.schedules.schedule import When
    from taskmesh.store.schedules.calls import PassedTicks, StartedRun

NEXT_SHOWN = 3
ROWS_SHOWN = 10

ScheduleId = Annotated[
    str, typer.Argument(metavar="ID", help="Id of a schedule, as `taskmesh schedule ls` prints it.", show_default=False)
]
Count = Annotated[int, typer.Option("--count", min=1, max=1000, help="How many at most.")]


def ls(output: Output = Format.TEXT) -> None:
    """List the schedules, and when each is due next."""
    from taskmesh.cli.output import console, print_json
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        found = mesh.schedules.ls()
    if output is Format.JSON:
        print_json([_document(each) for each in found])
    else:
        console().print(_table(found) if found else "there is no schedule")


def show(schedule_id: ScheduleId, output: Output = Format.TEXT) -> None:
    """Show a schedule: its rules, its last runs and next ticks, and what was missed or skipped, and why."""
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        print_schedule(mesh.schedules, mesh.schedules.get(schedule_id), output)


def next_(schedule_id: ScheduleId, count: Count = 10, output: Output = Format.TEXT) -> None:
    """Say when a schedule is due next, in its zone."""
    from taskmesh.cli.output import print_json
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        ticks = [tick.isoformat() for tick in mesh.schedules.next(schedule_id, count)]
    if output is Format.JSON:
        print_json({"id": schedule_id, "next": ticks})
    for tick in ticks if output is Format.TEXT else ():
        print(tick)


def print_schedule(box: ScheduleBox, details: ScheduleDetails, output: Format) -> None:
    """A schedule as ``show`` prints it."""
    from taskmesh.cli.output import cell, console, print_json

    ticks = [tick.isoformat() for tick in box.next(details.schedule.id, NEXT_SHOWN)]
    if output is Format.JSON:
        print_json({**_document(details), "next_ticks": ticks, **_history(details)})
        return
    out = console()
    out.print(_table([details]))
    for name, value in _facts(details, ticks):
        if value:
            out.print(cell(f"{name:<14}{value}"))
    if details.record.started:
        out.print(_started_table(details.record.started[:ROWS_SHOWN]))
    if details.record.passed:
        out.print(_passed_table(details.record.passed[:ROWS_SHOWN], details.schedule.when.zone))


def _facts(details: ScheduleDetails, ticks: Sequence[str]) -> list[tuple[str, str]]:
    schedule, record = details.schedule, details.record
    jitter = f", jitter up to {duration_text(schedule.jitter_seconds)}" if schedule.jitter_seconds else ""
    window = f"{schedule.catch_up} within {duration_text(schedule.catch_up_window_seconds)}"
    paused = record.paused
    return [
        ("rules", f"overlap {schedule.overlap}, catch up {window}{jitter}"),
        ("paused", f"by {paused.by}{': ' + paused.why if paused.why else ''}" if paused else ""),
        ("next", ", ".join(ticks)),
        ("active", ", ".join(run.run_id for run in record.standing.active)),
        ("waiting", f"{len(record.waiting)} ticks for the end of a run" if record.waiting else ""),
        ("backfill", f"{record.backfill} past ticks" if record.backfill else ""),
        ("counts", ", ".join(f"{number} {name}" for name, number in record.counts.items())),
    ]


def _table(found: Sequence[ScheduleDetails]) -> Table:
    from taskmesh.cli.output import cell, plain_table

    table = plain_table("schedule", "flow", "when", "state", "next")
    for each in found:
        state = cell("paused", "bold yellow") if each.record.paused else cell("on", "green")
        at = each.next_tick
        table.add_row(
            each.schedule.id, each.flow, _when_text(each.schedule.when), state, at.isoformat() if at else "never"
        )
    return table


def _when_text(when: When) -> str:
    if when.cron:
        return f"{when.cron} ({when.zone})"
    return f"every {duration_text(when.every_seconds)}" if when.every_seconds is not None else "once"


def _started_table(started: Sequence[StartedRun]) -> Table:
    from taskmesh.cli.output import cell, clock_text, plain_table

    table = plain_table("run", "kind", "begun", "why not")
    for each in started:
        table.add_row(each.run_id, each.kind, clock_text(each.at) if each.state == "started" else "", cell(each.why))
    return table


def _passed_table(passed: Sequence[PassedTicks], zone: str) -> Table:
    from taskmesh.cli.output import cell, plain_table

    table = plain_table("tick", "to", "ticks", "became", "since")
    for each in passed:
        first, last = (_moment(tick, zone) for tick in (each.first, each.last))
        number = str(each.number) if each.number else "many"
        table.add_row(first, "" if each.first == each.last else last, number, each.kind, cell(each.why))
    return table


def _moment(tick: int, zone: str) -> str:
    from taskmesh.timetable import iso_text, zone_of

    return iso_text(tick, zone_of(zone))


def _document(details: ScheduleDetails) -> dict[str, Any]:
    schedule, record = details.schedule, details.record
    when = schedule.when
    given = {"cron": when.cron, "every_seconds": when.every_seconds, "at": when.at}
    at = details.next_tick
    return {
        "id": schedule.id,
        "flow": details.flow,
        "version": details.version,
        "revision": record.standing.revision,
        **{name: value for name, value in given.items() if value not in ("", None)},
        "zone": when.zone,
        "params": schedule.params,
        "overlap": str(schedule.overlap),
        "catch_up": str(schedule.catch_up),
        "catch_up_window_seconds": schedule.catch_up_window_seconds,
        "jitter_seconds": schedule.jitter_seconds,
        "tags": dict(schedule.tags),
        "deadline_seconds": schedule.deadline_seconds,
        "paused": record.paused._asdict() if record.paused else None,
        "next": at.isoformat() if at else None,
        "active": [run.run_id for run in record.standing.active],
        "waiting": len(record.waiting),
        "backfill": record.backfill,
        "counts": record.counts,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }


def _history(details: ScheduleDetails) -> dict[str, Any]:
    zone, record = details.schedule.when.zone, details.record
    runs = [{**each._asdict(), "tick": _moment(each.tick, zone)} for each in record.started]
    passed = [
        {**each._asdict(), "first": _moment(each.first, zone), "last": _moment(each.last, zone)}
        for each in record.passed
    ]
    return {"runs": runs, "passed": passed}
