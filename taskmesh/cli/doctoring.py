"""The command that looks for what would break a promise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from taskmesh.cli.options import Format, Output
from taskmesh.model.checkup.findings import Finding, Severity

if TYPE_CHECKING:
    from rich.console import Console

FOUND = 1

LOOKS: Mapping[Severity, tuple[str, str]] = {
    Severity.REFUSED: ("✘", "bold red"),
    Severity.BROKEN: ("✘", "red"),
    Severity.WARNING: ("!", "yellow"),
    Severity.UNCHECKED: ("?", "dim"),
    Severity.WELL: ("✔", "green"),
}


def doctor(output: Output = Format.TEXT) -> None:
    """Check servers, settings and this machine; ends with 1 when something breaks a promise.

    Each finding comes with what mends it. What could not be checked is listed as such. Warnings do not fail.
    """
    from taskmesh.app.doctor import examine
    from taskmesh.cli.output import console, print_json
    from taskmesh.config import load_settings

    findings = examine(load_settings())
    if output is Format.JSON:
        print_json(_document(findings))
    else:
        _print(findings, console())
    if _fails(findings):
        raise typer.Exit(FOUND)


def _document(findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "ok": not _fails(findings),
        "findings": [
            {"id": each.id, "severity": str(each.severity), "what": each.what, "mend": each.mend} for each in findings
        ],
    }


def _fails(findings: Sequence[Finding]) -> bool:
    return any(each.severity.fails for each in findings)


def _print(findings: Sequence[Finding], out: Console) -> None:
    from taskmesh.cli.output import cell

    for each in findings:
        glyph, style = LOOKS[each.severity]
        word = "" if each.severity is Severity.WELL else f"{each.severity}: "
        out.print(cell(f"{glyph} {each.id:<26} {word}{each.what}", style), soft_wrap=True)
        if each.mend:
            out.print(cell(f"{'':<29}{each.mend}"), soft_wrap=True)
    counts = Counter(each.severity for each in findings)
    out.print(", ".join(f"{counts[severity]} {severity}" for severity in Severity if counts[severity]), soft_wrap=True)
