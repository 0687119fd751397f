"""Commands about the live settings of all workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskmesh.cli.options import Format, Limit, Output
from taskmesh.errors import UsageError

if TYPE_CHECKING:
    from taskmesh.app.push_watch import Values
    from taskmesh.client.pushed_settings import PushedRevision
    from taskmesh.model.checkup.settings_rules import SettingsReport
    from taskmesh.model.settings_revisions import SettingsRevision

File = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", help="A TOML file with live settings and nothing else.", show_default=False),
]
Sets = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        default_factory=list,
        show_default=False,
        help="A live setting, over the file; without a file, over what holds now. May be repeated.",
    ),
]
Message = Annotated[str, typer.Option("--message", "-m", metavar="TEXT", help="Why; kept with the revision.")]
Expected = Annotated[
    int | None,
    typer.Option("--if-newest", min=0, metavar="N", help="Only if this revision is the newest until then; 0 = none."),
]
Watch = Annotated[bool, typer.Option("--watch", help="Go on, and push each valid change of the file, until Ctrl-C.")]
Number = Annotated[int, typer.Argument(metavar="N", min=1, help="A revision, as `config log` prints it.")]


def push(
    sets: Sets,
    file: File = None,
    message: Message = "",
    if_newest: Expected = None,
    watch: Watch = False,
    output: Output = Format.TEXT,
) -> None:
    """Have live settings hold for all workers, at once, as a new revision.

    What a file says takes the place of all that was pushed before. Nothing is pushed when anything is wrong, or is no
    live setting: log.level, log.format, worker.drain_seconds, worker.cancel_grace_seconds, flows.activate.
    """
    from taskmesh.cli.targets import opened, pairs_of

    texts = pairs_of(sets, "--set")
    if file is None and not texts:
        raise UsageError("nothing says what to push; name a file, or give --set KEY=VALUE")
    if watch and file is None:
        raise UsageError("--watch goes with a file; name one")
    values = _values(file, texts)
    with opened() as mesh:
        push = mesh.config.change if file is None else mesh.config.push
        _tell(push(values, message=message, expected=if_newest), output)
        if watch and file is not None:
            _watch(file, texts, values, lambda found: _tell(mesh.config.push(found, message=message), output))


def log(
    limit: Limit = 50,
    before: Annotated[
        int | None, typer.Option("--before", min=1, metavar="N", help="Only revisions older than this one.")
    ] = None,
    output: Output = Format.TEXT,
) -> None:
    """Tell what was pushed, by whom and why, the newest first; the newest holds."""
    from taskmesh.cli.output import cell, clock_text, console, plain_table, print_json, visible
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        revisions = mesh.config.log(limit, before)
    if output is Format.JSON:
        print_json([each._asdict() for each in revisions])
        return
    table = plain_table("revision", "at", "by", "what", "settings", "why")
    for each in revisions:
        texts = (visible(each.by), _done(each), _listed(each.values), visible(each.why))
        table.add_row(str(each.number), clock_text(each.at), *map(cell, texts))
    console().print(table if revisions else "nothing was ever pushed")


def rollback(number: Number, message: Message = "", if_newest: Expected = None, output: Output = Format.TEXT) -> None:
    """Have what an earlier revision says hold again, as a new revision."""
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        _tell(mesh.config.rollback(number, message=message, expected=if_newest), output)


def unset(message: Message = "", if_newest: Expected = None, output: Output = Format.TEXT) -> None:
    """Push nothing any more: all workers go by their own settings again."""
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        _tell(mesh.config.unset(message=message, expected=if_newest), output)


def workers(output: Output = Format.TEXT) -> None:
    """List which revision of the pushed settings each process of workers and keepers holds.

    Each tells so every few seconds. Two that run with the same live settings have the same digest.
    """
    from taskmesh.cli.output import cell, console, plain_table, print_json
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        reports = mesh.config.workers()
    if output is Format.JSON:
        print_json({holder: report._asdict() for holder, report in reports.items()})
        return
    table = plain_table("process", "revision", "digest", "")
    for holder, report in reports.items():
        table.add_row(holder, str(report.pushed or "none"), report.digest, cell(_refusal(report)))
    console().print(table if reports else "no worker and no keeper tells anything")


def heading(revision: SettingsRevision) -> str:
    """A revision in one line, without its values."""
    from taskmesh.cli.output import clock_text, visible

    why = f": {visible(revision.why)}" if revision.why else ""
    return f"revision {revision.number} ({_done(revision)}, {clock_text(revision.at)} by {visible(revision.by)}){why}"


def _values(file: Path | None, texts: Mapping[str, str]) -> dict[str, Any]:
    from taskmesh.config.pushed import live_values
    from taskmesh.config.sources import from_named_file, from_texts

    return live_values(() if file is None else from_named_file(file), from_texts(texts, "--set"))


def _watch(file: Path, texts: Mapping[str, str], pushed: Values, push: Callable[[Values], None]) -> None:
    from taskmesh.app.push_watch import follow

    typer.echo(f"watching {file}; Ctrl-C ends it", err=True)
    asyncio.run(follow(file, lambda: _values(file, texts), pushed, push, lambda line: typer.echo(line, err=True)))


def _tell(pushed: PushedRevision, output: Format) -> None:
    from taskmesh.cli.output import print_json

    revision, is_new = pushed
    if output is Format.JSON:
        print_json({"new": is_new, **(revision._asdict() if revision else {"number": 0, "values": {}})})
        return
    held = f"revision {revision.number}: {_listed(revision.values)}" if revision else "nothing was ever pushed"
    print(f"pushed {held}" if is_new else f"nothing new: {held}", flush=True)


def _done(revision: SettingsRevision) -> str:
    return f"rollback to {revision.of}" if revision.of else revision.kind


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {value!r}" for key, value in values.items()) or "none, each worker has its own"


def _refusal(report: SettingsReport) -> str:
    return "it has refused a change; its log says why" if report.is_refused else ""
