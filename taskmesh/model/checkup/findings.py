"""One finding of a check-up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """What a finding means, the worst first."""

    REFUSED = "refused"  # breaks a promise, and waiting does not help: no worker starts
    BROKEN = "broken"  # breaks a promise, or stops all work, as long as it lasts
    WARNING = "warning"  # works, and should be looked at
    UNCHECKED = "not checked"
    WELL = "ok"

    @property
    def fails(self) -> bool:
        return self in (Severity.REFUSED, Severity.BROKEN)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found at one place. ``mend`` is what to do, a command where one does it; empty where all is well."""

    id: str
    severity: Severity
    what: str
    mend: str = ""

    @classmethod
    def of_sentence(cls, id: str, severity: Severity, sentence: str) -> Finding:
        """A sentence of the form "what is wrong; what to do"."""
        what, _, mend = sentence.partition("; ")
        return cls(id, severity, what, mend)

    @property
    def sentence(self) -> str:
        return f"{self.what}; {self.mend}" if self.mend else self.what


def refused(id: str, sentence: str) -> Finding:
    return Finding.of_sentence(id, Severity.REFUSED, sentence)


def well(id: str, what: str) -> Finding:
    return Finding(id, Severity.WELL, what)


def refusal(findings: Iterable[Finding]) -> str:
    """Why a worker does not start, one sentence a line; empty when it may."""
    return "\n".join(each.sentence for each in findings if each.severity is Severity.REFUSED)
