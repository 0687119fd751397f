"""When a dependency is left alone for a while: the rules of circuit breakers. Their state is the store's."""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypedDict

from taskmesh.errors import UsageError
from taskmesh.model.durations import MAX_SECONDS
from taskmesh.model.policies import Finding, exception_name, name_findings, names_of
from taskmesh.model.problems import Hints
from taskmesh.model.references import NAME_PATTERN

FALLBACK = "fallback"
"""As the cause of a node's end: the output is that of the task that stood in for its own."""

BEHIND_BREAKER = "breaker:"
"""Begins the cause of a node that waits: then comes the name of its breaker."""

DEFAULT_FAILURES = 5
DEFAULT_RESET_SECONDS = 30.0
DEFAULT_RAMP_SECONDS = 10.0
MAX_COUNT = 1_000_000
MAX_WINDOW_SECONDS = 86_400.0

_NAME = re.compile(NAME_PATTERN)


class BreakerState(StrEnum):
    """The states of pybreaker, whose rules the store follows."""

    CLOSED = "closed"  # all is well: every node runs
    OPEN = "open"  # nothing runs until it may be tried
    HALF_OPEN = "half_open"  # one node tries it, for all processes


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When a breaker opens, and how it closes again.

    It opens after ``failures`` in a row; or, where there is a ``failure_rate``, when that part of the calls of the last
    ``window_seconds`` has failed and there were at least ``min_calls``. After ``reset_seconds`` one node may try. What
    waited comes back over ``ramp_seconds``. ``exclude`` names exceptions that are an answer, and so no failure.
    """

    name: str
    failures: int = DEFAULT_FAILURES
    failure_rate: float | None = None
    window_seconds: float = 60.0
    min_calls: int = 10
    reset_seconds: float = DEFAULT_RESET_SECONDS
    ramp_seconds: float = DEFAULT_RAMP_SECONDS
    exclude: tuple[str, ...] = ()

    def excludes(self, lineage: Iterable[str]) -> bool:
        """Whether a failure says nothing against the dependency; ``lineage`` as of ``RetryPolicy.covers``."""
        return not names_of(lineage).isdisjoint(self.exclude)

    def findings(self) -> Iterator[Finding]:
        """Every rule of rules that is broken."""
        if not _NAME.fullmatch(self.name):
            yield "name", f"{self.name!r} must be 1-128 letters, digits, _ or -, no digit first"
        yield from self._count_findings()
        yield from self._number_findings()
        yield from name_findings("exclude", self.exclude)

    def _count_findings(self) -> Iterator[Finding]:
        counts: dict[str, object] = {"failures": self.failures, "min_calls": self.min_calls}
        for key, count in counts.items():
            if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_COUNT:
                yield key, f"must be a whole number from 1 to {MAX_COUNT}, not {count!r}"

    def _number_findings(self) -> Iterator[Finding]:
        if self.failure_rate is not None and not 0 < self.failure_rate <= 1:
            yield "failure_rate", f"must be above 0 and at most 1, not {self.failure_rate!r}"
        if not 1 <= self.window_seconds <= MAX_WINDOW_SECONDS:
            yield "window_seconds", f"must be 1 to {MAX_WINDOW_SECONDS:.0f} seconds, not {self.window_seconds!r}"
        for key, seconds in (("reset_seconds", self.reset_seconds), ("ramp_seconds", self.ramp_seconds)):
            if not 0 <= seconds <= MAX_SECONDS:
                yield key, f"must be 0 to {MAX_SECONDS:.0f} seconds, not {seconds!r}"
        if self.ramp_seconds > self.reset_seconds:
            # What was to come late after one try would come all together with the next.
            yield "ramp_seconds", f"must not be longer than the reset, {self.reset_seconds:g} s"


@dataclass(frozen=True, slots=True)
class Guard:
    """The breaker of a node; ``fallback`` names the task that runs in its place while the breaker refuses."""

    rules: BreakerRules
    fallback: str = ""


class BreakerOptions(TypedDict, total=False):
    """What ``mesh.breaker`` may say of a breaker."""

    failures: int
    failure_rate: float
    window_seconds: float
    min_calls: int
    reset_seconds: float
    ramp_seconds: float
    exclude: Collection[str | type[BaseException]]


def breaker_rules(name: str, options: BreakerOptions) -> BreakerRules:
    """The rules that a person gives; what is left out takes the default.

    :raises UsageError: for an unknown option, or a value out of its range or without a meaning.
    """
    known = [*BreakerOptions.__annotations__]
    problems = [(each, f"is no option{Hints(known).did_you_mean(each)}") for each in options if each not in known]
    if not problems:
        exclude = tuple(map(exception_name, options.get("exclude", ())))
        numbers: dict[str, Any] = {key: value for key, value in options.items() if key != "exclude"}
        numbers.setdefault("ramp_seconds", default_ramp(options.get("reset_seconds", DEFAULT_RESET_SECONDS)))
        rules = BreakerRules(name, exclude=exclude, **numbers)
        problems = [*mode_findings(options), *rules.findings()]
    if problems:
        raise UsageError(f"breaker {name!r}: " + "; ".join(f"{key} {problem}" for key, problem in problems))
    return rules


def default_ramp(reset_seconds: float) -> float:
    """The ramp where only the reset is given."""
    return min(DEFAULT_RAMP_SECONDS, reset_seconds)


def mode_findings(given: Container[str]) -> Iterator[Finding]:
    """What was given that has no meaning beside the rest."""
    if "failure_rate" in given and "failures" in given:
        yield "failures", "counts failures in a row, which has no meaning beside failure_rate; give one of them"
    for key in ("window_seconds", "min_calls"):
        if key in given and "failure_rate" not in given:
            yield key, "has a meaning only with failure_rate"
