"""Whether the workers run with the same settings, as far as those can change while they run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from taskmesh.model.checkup.findings import Finding, Severity, well

REFUSED = "!"
"""Ends the revision of a worker that has found other settings and could not take them over."""

SHOWN = 5


def judge_revisions(revisions: Mapping[str, str]) -> Iterator[Finding]:
    """``revisions`` says with which one each I/O process runs; nothing is found where there is none."""
    refusing = sorted(holder for holder, revision in revisions.items() if revision.endswith(REFUSED))
    if refusing:
        yield Finding(
            "settings.taken_over",
            Severity.WARNING,
            f"settings have changed that are not taken over by {_listed(refusing)}",
            "their logs say why; mend the settings, or restart these workers",
        )
    counts = Counter(revision.removesuffix(REFUSED) for revision in revisions.values())
    if len(counts) == 1:
        yield well(
            "settings.revision", f"{len(revisions)} I/O processes run with the live settings {next(iter(counts))}"
        )
    elif counts:
        shares = ", ".join(f"{count} with {revision}" for revision, count in counts.most_common())
        yield Finding(
            "settings.revision",
            Severity.WARNING,
            f"I/O processes run with different live settings: {shares}",
            "give all workers the same log, flows.activate, worker.drain_seconds and worker.cancel_grace_seconds",
        )


def _listed(holders: list[str]) -> str:
    rest = len(holders) - SHOWN
    return ", ".join(holders[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
