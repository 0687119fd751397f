"""Commands about registered flows and their versions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskmesh.cli.options import Apps, Format, Limit, Output
from taskmesh.model.flow_versions import VersionState

if TYPE_CHECKING:
    from rich.table import Table

    from taskmesh.app.mesh import Mesh
    from taskmesh.client.flow_versions import Pushed
    from taskmesh.model.differences import Difference
    from taskmesh.model.flow import Flow
    from taskmesh.model.flow_versions import FlowVersion, RegisteredFlow

DIFFERS = 1
SHOWN_VALUE = 200

STYLES = {
    VersionState.DRAFT: "yellow",
    VersionState.INACTIVE: "",
    VersionState.ACTIVE: "bold green",
    VersionState.ARCHIVED: "dim",
}

Reference = Annotated[
    str,
    typer.Argument(
        metavar="NAME[@V]",
        help="A registered flow: NAME is its active version, NAME@latest its newest, or NAME@NUMBER.",
        show_default=False,
    ),
]
OneVersion = Annotated[
    str, typer.Argument(metavar="NAME@V", help="A version: NAME@NUMBER or NAME@latest.", show_default=False)
]
Compared = Annotated[
    str, typer.Argument(metavar="FLOW", help="A file, NAME, NAME@NUMBER or NAME@latest.", show_default=False)
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a registered flow.", show_default=False)]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept in the log of the flow.")]
Expected = Annotated[
    int | None,
    typer.Option("--if-active", min=0, metavar="NUMBER", help="Only if this version is active until then; 0 = none."),
]
Message = Annotated[str, typer.Option("--message", "-m", metavar="TEXT", help="What is new; kept with the version.")]


def push(
    file: Annotated[str, typer.Argument(metavar="FLOW", help="A flow file, or module:name of a Python flow.")],
    app: Apps,
    message: Message = "",
    draft: Annotated[bool, typer.Option("--draft", help="It runs only when it is named by its number.")] = False,
    activate: Annotated[bool, typer.Option("--activate", help="Make it the active version at once.")] = False,
    output: Output = Format.TEXT,
) -> None:
    """Register a flow as a new version of its name; the same content again is the version that it is already.

    Nothing is stored when anything is wrong with it. With -A its tasks are checked, and what they say of pools, retries
    and limits becomes part of the version.
    """
    from taskmesh.cli.output import print_json
    from taskmesh.cli.targets import flow_of, opened
    from taskmesh.model.subflows import tasks_in

    with opened(app) as mesh:
        flow = flow_of(file, mesh.registry, must_be_known=False)
        pushed = mesh.flows.push(flow, message=message, draft=draft, activate=activate)
        unchecked = [] if len(mesh.registry) else sorted(tasks_in(flow))
    if unchecked:
        typer.echo(_warning(unchecked), err=True)
    if output is Format.JSON:
        print_json({**_document(pushed.version), "new": pushed.is_new, "unchecked_tasks": unchecked})
    else:
        print(_said(pushed))


def ls(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="List the versions of this flow.")] = None,
    limit: Limit = 50,
    before: Annotated[
        int | None, typer.Option("--before", min=1, metavar="NUMBER", help="Only versions older than this one.")
    ] = None,
    output: Output = Format.TEXT,
) -> None:
    """List the registered flows, or the versions of one, the newest first."""
    from taskmesh.cli.output import console, print_json
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        if name is None:
            flows = mesh.flows.list()
            documents: list[dict[str, Any]] = [_flow_document(each) for each in flows]
            table = _flows_table(flows)
        else:
            versions = mesh.flows.versions(name, limit, before)
            documents, table = [_document(each) for each in versions], _versions_table(versions)
    if output is Format.JSON:
        print_json(documents)
    else:
        console().print(table if documents else "no flows are registered" if name is None else "no such versions")


def show(flow: Reference, output: Output = Format.TEXT) -> None:
    """Show a version as a flow file, in YAML."""
    from taskmesh.cli.output import print_json
    from taskmesh.cli.targets import opened
    from taskmesh.flows import dump_flow, flow_document

    with opened() as mesh:
        version = mesh.flows.get(flow)
        # By its number: the name may mean another one by now.
        definition = mesh.flows.definition(version.reference)
    if output is Format.JSON:
        print_json({**_document(version), "definition": flow_document(definition)})
        return
    for line in _heading(version):
        print(f"# {line}")
    print(dump_flow(definition), end="")


def diff(before: Compared, after: Compared, app: Apps, output: Output = Format.TEXT) -> None:
    """Compare two versions or files in meaning; ends with 0 when they are equal, with 1 when they differ.

    What is compared is what flow files can say. A file without -A lacks what a version may have from its tasks.
    """
    from taskmesh.cli.output import print_json
    from taskmesh.cli.targets import opened

    with opened(app) as mesh:
        found = mesh.flows.diff(_compared(before, mesh), _compared(after, mesh))
    if output is Format.JSON:
        print_json({"equal": not found, "differences": [each.to_mapping() for each in found]})
    else:
        print("\n".join(_lines(found)) if found else "no difference")
    if found:
        raise typer.Exit(DIFFERS)


def activate(flow: OneVersion, if_active: Expected = None, reason: Reason = "", output: Output = Format.TEXT) -> None:
    """Make a version the active one: the one that the bare name means from now on. Runs keep theirs."""
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        _tell(mesh.flows.activate(flow, expected=if_active, reason=reason), output)


def rollback(name: Name, if_active: Expected = None, reason: Reason = "", output: Output = Format.TEXT) -> None:
    """Activate the version that was active before this one."""
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        _tell(mesh.flows.rollback(name, expected=if_active, reason=reason), output)


def archive(flow: OneVersion, reason: Reason = "", output: Output = Format.TEXT) -> None:
    """Let a version that is not active be submitted and activated no more. Its runs go on, and it is kept."""
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        _tell(mesh.flows.archive(flow, reason=reason), output)


def restore(flow: OneVersion, reason: Reason = "", output: Output = Format.TEXT) -> None:
    """Take an archived version back."""
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        _tell(mesh.flows.restore(flow, reason=reason), output)


def log(name: Name, limit: Limit = 50, output: Output = Format.TEXT) -> None:
    """Tell what was done to a flow, by whom and why, the newest first."""
    from taskmesh.cli.output import cell, clock_text, console, plain_table, print_json, visible
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        changes = mesh.flows.log(name, limit)
    if output is Format.JSON:
        print_json([each._asdict() for each in changes])
        return
    table = plain_table("at", "what", "version", "before", "by", "why")
    for each in changes:
        texts = (each.kind, str(each.number), str(each.before or ""), each.by, each.why)
        table.add_row(clock_text(each.at), *(cell(visible(text)) for text in texts))
    console().print(table)


def _compared(what: str, mesh: Mesh) -> Flow:
    from taskmesh.cli.targets import flow_of, kept_in

    return flow_of(what, mesh.registry, False, kept_in(mesh))


def _warning(tasks: Sequence[str]) -> str:
    from taskmesh.model.problems import listed

    return (
        f"taskmesh: no app is named, so it was not checked whether these tasks exist and take their arguments, and "
        f"nothing of them is part of the version: {listed(tasks, 5)}; add -A MODULE"
    )


def _said(pushed: Pushed) -> str:
    version = pushed.version
    what = f"{version.reference} ({version.state})"
    return f"pushed {what}" if pushed.is_new else f"nothing new: this is {what}"


def _tell(version: FlowVersion, output: Format) -> None:
    from taskmesh.cli.output import print_json

    if output is Format.JSON:
        print_json(_document(version))
    else:
        print(f"{version.reference} is {version.state}")


def _document(version: FlowVersion) -> dict[str, Any]:
    return {
        "name": version.name,
        "number": version.number,
        "state": str(version.state),
        "version": version.label,
        "nodes": version.nodes,
        "author": version.author,
        "at": version.at,
        "message": version.message,
        "hash": version.hash,
    }


def _flow_document(flow: RegisteredFlow) -> dict[str, Any]:
    return {"name": flow.name, "active": flow.active, "latest": flow.latest}


def _heading(version: FlowVersion) -> Iterator[str]:
    from taskmesh.cli.output import clock_text, visible

    yield f"{version.reference} ({version.state}), pushed {clock_text(version.at)} by {visible(version.author)}"
    if version.message:
        yield visible(version.message)


def _flows_table(flows: Sequence[RegisteredFlow]) -> Table:
    from taskmesh.cli.output import plain_table

    table = plain_table("flow", "active", "newest")
    for each in flows:
        table.add_row(each.name, "none" if each.active is None else str(each.active), str(each.latest))
    return table


def _versions_table(versions: Sequence[FlowVersion]) -> Table:
    from taskmesh.cli.output import cell, clock_text, plain_table, visible

    table = plain_table("version", "state", "says", "nodes", "pushed", "by", "message")
    for each in versions:
        state = cell(str(each.state), STYLES[each.state])
        facts = (each.label, str(each.nodes), clock_text(each.at), visible(each.author), visible(each.message))
        table.add_row(each.reference, state, *map(cell, facts))
    return table


def _lines(found: Sequence[Difference]) -> Iterator[str]:
    """One line for each difference: ``~ nodes.charge.timeout: 10.0 -> 20.0``."""
    for each in found:
        signs = {"added": ("+", _value(each.after)), "removed": ("-", _value(each.before))}
        sign, value = signs.get(each.change, ("~", f"{_value(each.before)} -> {_value(each.after)}"))
        yield f"{sign} {'.'.join(each.path)}: {value}"


def _value(value: Any) -> str:
    from taskmesh.cli.output import json_text, shortened

    return shortened(json_text(value, indent=None), SHOWN_VALUE)
