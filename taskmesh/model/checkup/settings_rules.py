"""Whether the workers run with the same settings, as far as those can change while they run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from taskmesh.model.checkup.findings import Finding, Severity, well

SHOWN = 5


class SettingsReport(NamedTuple):
    """What a process of a worker tells of its settings; ``digest`` is the same where all live ones are.

    ``pushed`` is the revision of the pushed settings that it holds, 0 for none. ``is_refused``: it has found others,
    and could not take them over.
    """

    digest: str
    pushed: int = 0
    is_refused: bool = False

    @property
    def text(self) -> str:
        """As it is kept in the store: ``DIGEST``, ``@NUMBER`` where one is held, ``!`` where others were refused."""
        return self.digest + (f"@{self.pushed}" if self.pushed else "") + ("!" if self.is_refused else "")

    @classmethod
    def parse(cls, text: str) -> SettingsReport:
        """What ``text`` made; of what is none, a report of that digest."""
        digest, _, pushed = text.removesuffix("!").partition("@")
        return cls(digest, int(pushed) if pushed.isdecimal() else 0, text.endswith("!"))


def judge_reports(reports: Mapping[str, SettingsReport], newest: int) -> Iterator[Finding]:
    """``reports`` has one of each process, ``newest`` is the revision that was pushed last; nothing of no processes."""
    yield from _judge_refusals(reports)
    yield from _judge_digests(reports)
    if reports and newest:
        yield _judge_pushed(reports, newest)


def _judge_refusals(reports: Mapping[str, SettingsReport]) -> Iterator[Finding]:
    refusing = sorted(holder for holder, report in reports.items() if report.is_refused)
    if refusing:
        yield Finding(
            "settings.taken_over",
            Severity.WARNING,
            f"settings have changed that are not taken over by {_listed(refusing)}",
            "their logs say why; mend the settings, or restart these workers",
        )


def _judge_digests(reports: Mapping[str, SettingsReport]) -> Iterator[Finding]:
    counts = Counter(report.digest for report in reports.values())
    if len(counts) == 1:
        yield well("settings.revision", f"{len(reports)} processes run with the live settings {next(iter(counts))}")
    elif counts:
        shares = ", ".join(f"{count} with {digest}" for digest, count in counts.most_common())
        yield Finding(
            "settings.revision",
            Severity.WARNING,
            f"processes run with different live settings: {shares}",
            "push them to all with `taskmesh config push`, or give all workers the same log, flows.activate, "
            "worker.drain_seconds and worker.cancel_grace_seconds",
        )


def _judge_pushed(reports: Mapping[str, SettingsReport], newest: int) -> Finding:
    others = sorted(holder for holder, report in reports.items() if report.pushed != newest)
    if not others:
        return well("settings.pushed", f"{len(reports)} processes hold revision {newest} of the pushed settings")
    held = [f"{holder} ({reports[holder].pushed or 'none'})" for holder in others]
    return Finding(
        "settings.pushed",
        Severity.WARNING,
        f"revision {newest} of the pushed settings is not held by {_listed(held)}",
        "it takes some seconds; then their logs say why. Workers inside an app take no pushed settings",
    )


def _listed(holders: Sequence[str]) -> str:
    rest = len(holders) - SHOWN
    return ", ".join(holders[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
