"""Commands about circuit breakers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskmesh.cli.options import Format, Output
from taskmesh.errors import UsageError
from taskmesh.model.breakers import BreakerState
from taskmesh.model.durations import DURATION_RULE, read_duration

if TYPE_CHECKING:
    from rich.table import Table

    from taskmesh.client.breakers import BreakerBox
    from taskmesh.store.breakers import Breaker

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name, as `taskmesh breakers ls` prints it.")]
For = Annotated[
    str | None, typer.Option("--for", metavar="TIME", help="How long: 90s, 30m. Default: its own reset time.")
]

STYLES = {BreakerState.CLOSED: "green", BreakerState.OPEN: "bold red", BreakerState.HALF_OPEN: "yellow"}


def ls(output: Output = Format.TEXT) -> None:
    """List the circuit breakers that workers have met, and how they stand."""
    from taskmesh.cli.output import console, print_json
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        found = mesh.breakers.ls()
    if output is Format.JSON:
        print_json([_document(each) for each in found])
    else:
        console().print(_table(found) if found else "no worker has met a breaker")


def show(name: Name, output: Output = Format.TEXT) -> None:
    """Show how one circuit breaker stands, and its rules."""
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        _print(mesh.breakers, name, output)


def open_(name: Name, seconds: For = None, output: Output = Format.TEXT) -> None:
    """Open a circuit breaker: nodes behind it wait, or their fallback runs, until one may try it."""
    from taskmesh.cli.targets import opened

    wanted = read_duration(seconds) if seconds is not None else None
    if seconds is not None and wanted is None:
        raise UsageError(f"--for must be {DURATION_RULE}, not {seconds!r}")
    with opened() as mesh:
        mesh.breakers.open(name, wanted)
        _print(mesh.breakers, name, output)


def reset(name: Name, output: Output = Format.TEXT) -> None:
    """Close a circuit breaker and forget what it has counted; nodes that wait come when their time is over."""
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        mesh.breakers.reset(name)
        _print(mesh.breakers, name, output)


def _print(box: BreakerBox, name: str, output: Format) -> None:
    from taskmesh.cli.output import cell, console, print_json

    breaker = box.get(name)
    if output is Format.JSON:
        print_json(_document(breaker))
        return
    out = console()
    out.print(_table([breaker]))
    for key, value in _rules(breaker).items():
        out.print(cell(f"{key:<16}{value}"))


def _table(breakers: Sequence[Breaker]) -> Table:
    from taskmesh.cli.output import cell, clock_text, duration_text, plain_table

    table = plain_table("breaker", "state", "since", "may be tried in", "failures in a row", "opened")
    for each in breakers:
        wait = "" if each.state is BreakerState.CLOSED else duration_text(each.wait_seconds)
        state = cell(str(each.state), STYLES[each.state])
        table.add_row(each.name, state, clock_text(each.since), wait, str(each.failures), f"{each.opens} times")
    return table


def _document(breaker: Breaker) -> dict[str, Any]:
    return {
        "name": breaker.name,
        "state": str(breaker.state),
        "since": breaker.since,
        "wait_seconds": breaker.wait_seconds,
        "failures_in_a_row": breaker.failures,
        "calls_in_window": breaker.calls,
        "failed_in_window": breaker.failed_calls,
        "opens": breaker.opens,
        "rules": _rules(breaker),
    }


def _rules(breaker: Breaker) -> dict[str, Any]:
    rules = breaker.rules
    counted: dict[str, Any] = {"failures": rules.failures}
    if rules.failure_rate is not None:
        window = {"window_seconds": rules.window_seconds, "min_calls": rules.min_calls}
        counted = {"failure_rate": rules.failure_rate, **window}
    waits = {"reset_seconds": rules.reset_seconds, "ramp_seconds": rules.ramp_seconds}
    return {**counted, **waits, "exclude": list(rules.exclude)}
