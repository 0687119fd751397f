"""Writes the table of experiments into a Markdown page, between two marks, so that it can be made again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.nemesis.catalogue import place_of
from tests.nemesis.verdict import Verdict

BEGIN, END = "<!-- experiments: written by ./scripts/faults --page -->", "<!-- end of experiments -->"
HEAD = """| experiment | what strikes | runs accepted / ended | code ran again | stale refused | all ended after |
|---|---|---|---|---|---|"""


def write_page(page: Path, verdicts: Sequence[Verdict]) -> None:
    """Replace the rows of the experiments that were conducted; those of others stay."""
    before, _, rest = page.read_text().partition(BEGIN)
    old, _, after = rest.partition(END)
    rows = {_id(line): line for line in old.splitlines() if line.startswith("| ") and not line.startswith("| exp")}
    rows.update({verdict.experiment.id: _row(verdict) for verdict in verdicts})
    table = "\n".join([HEAD, *(rows[id_] for id_ in sorted(rows, key=place_of))])
    page.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")


def _row(verdict: Verdict) -> str:
    text = verdict.experiment.text + (verdict.figures.measured_text(" Measured: ") if verdict.figures else "")
    cells = [f"{verdict.experiment.id} {verdict.experiment.name}", text, *_figures(verdict)]
    return f"| {' | '.join(cells)} |"


def _figures(verdict: Verdict) -> list[str]:
    figures = verdict.figures
    if verdict.missing or not verdict.passed or figures is None:
        return [f"{verdict.word}: {verdict.missing}" if verdict.missing else verdict.word, "", "", ""]
    accepted = f"{figures.accepted} / {figures.ended}"
    return [accepted, str(figures.duplicates), str(figures.stale_refused), f"{figures.recovery_seconds:g} s"]


def _id(line: str) -> str:
    return line[2:].partition(" ")[0]
