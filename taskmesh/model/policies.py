"""When a node is tried again, and how long it may take. Pure rules; the waits themselves are computed elsewhere."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from taskmesh.errors import UsageError
from taskmesh.model.durations import MAX_SECONDS, as_float, duration_problem
from taskmesh.model.problems import Hints

MAX_ATTEMPTS = 1000
MIN_HEARTBEAT_SECONDS = 0.2
"""Heartbeats are gathered for a short while on their way; a shorter limit would kill tasks that gave theirs in time."""

MAX_DELAYS = 1000
MAX_NAMES = 100

EXCEPTION_PATTERN = r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*"
_EXCEPTION = re.compile(EXCEPTION_PATTERN)

Finding: TypeAlias = tuple[str, str]
"""A field by its key in a flow file, and what is wrong with it as the end of a sentence."""


class Wait(StrEnum):
    """How the delay before the next attempt is found."""

    EXPONENTIAL = "exponential"  # random, up to base * 2 ** (attempt - 1) or the maximum
    FIXED = "fixed"  # always base
    LIST = "list"  # the delays one after another, the last of them again and again


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Whether and when a node is tried again. Exceptions are names, qualified or plain; no ``retry_on`` means all."""

    max_attempts: int = 5
    wait: Wait = Wait.EXPONENTIAL
    base_seconds: float = 0.1
    max_seconds: float = 60.0
    delays_seconds: tuple[float, ...] = ()
    retry_on: tuple[str, ...] = ()
    give_up_on: tuple[str, ...] = ()

    def covers(self, lineage: Iterable[str]) -> bool:
        """Whether a failure may be tried again; ``lineage`` has the qualified names of its type and of its bases."""
        names = names_of(lineage)
        if not names.isdisjoint(self.give_up_on):
            return False
        return not self.retry_on or not names.isdisjoint(self.retry_on)

    def findings(self) -> Iterator[Finding]:
        """Every rule that the policy breaks."""
        if isinstance(self.max_attempts, bool) or not isinstance(self.max_attempts, int):
            yield "max_attempts", f"must be a whole number, not {self.max_attempts!r}"
        elif not 1 <= self.max_attempts <= MAX_ATTEMPTS:
            yield "max_attempts", f"must be 1 to {MAX_ATTEMPTS}, not {self.max_attempts}"
        yield from self._delay_findings()
        yield from name_findings("on", self.retry_on)
        yield from name_findings("give_up_on", self.give_up_on)

    def _delay_findings(self) -> Iterator[Finding]:
        delays = [("delays", seconds) for seconds in self.delays_seconds]
        for key, seconds in (("base", self.base_seconds), ("max", self.max_seconds), *delays):
            if problem := duration_problem(seconds):
                yield key, problem
        if self.wait == Wait.LIST and not self.delays_seconds:
            yield "delays", "must name at least one delay, as the wait is a list"
        if self.wait != Wait.LIST and self.delays_seconds:
            yield "delays", "has a meaning only where the wait is list"
        if len(self.delays_seconds) > MAX_DELAYS:
            yield "delays", f"has {len(self.delays_seconds)} entries; at most {MAX_DELAYS} are allowed"


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How long a node may take, in seconds; None = without end.

    ``start_to_close`` is for one attempt, ``schedule_to_start`` for its wait for a worker, ``schedule_to_close`` for
    all attempts together, from the moment at which the node was ready first. ``heartbeat`` is for the time between two
    heartbeats of an attempt.
    """

    start_to_close: float | None = None
    schedule_to_start: float | None = None
    schedule_to_close: float | None = None
    heartbeat: float | None = None

    def findings(self) -> Iterator[Finding]:
        """Every rule that the limits break."""
        for key, seconds in zip(LIMIT_KEYS, self.values(), strict=True):
            if seconds is not None and (problem := duration_problem(seconds)):
                yield key, problem
        if self.heartbeat and duration_problem(self.heartbeat) is None and self.heartbeat < MIN_HEARTBEAT_SECONDS:
            yield HEARTBEAT_KEY, f"must be at least {MIN_HEARTBEAT_SECONDS:g} seconds, not {self.heartbeat:g}"

    def values(self) -> tuple[float | None, float | None, float | None, float | None]:
        return self.start_to_close, self.schedule_to_start, self.schedule_to_close, self.heartbeat

    def over(self, others: TimeLimits) -> TimeLimits:
        """These limits, and those of ``others`` where these say nothing."""
        pairs = zip(self.values(), others.values(), strict=True)
        return TimeLimits(*(mine if mine is not None else theirs for mine, theirs in pairs))


HEARTBEAT_KEY = "heartbeat_timeout"
LIMIT_KEYS = ("timeout", "schedule_to_start", "schedule_to_close", HEARTBEAT_KEY)
"""The keys of the limits in a flow file and in Python, in the order of the fields."""

NO_LIMITS = TimeLimits()

DEFAULT_RETRY = RetryPolicy()
"""What bounds ``raise Retry(...)`` in a task that has no policy."""


class Retry(Exception):
    """How a task is tried again, as ``@mesh.task(retry=Retry(max_attempts=3))``; and raised by a task, a wish for it.

    As a policy: ``max_attempts`` counts all attempts, 1 to 1000. ``wait`` is ``exponential`` (full jitter: random, up
    to ``base_seconds * 2 ** (attempt - 1)`` and at most ``max_seconds``), ``fixed`` (``base_seconds``) or ``list``
    (``delays_seconds``; the last one is repeated). ``retry_on`` and ``give_up_on`` name exceptions, or are their
    classes; subclasses are meant, too, and ``give_up_on`` wins. An empty ``retry_on`` means every exception.

    Raised, as ``raise Retry("busy", after=2.5)``: try again after so many seconds, or after the policy's own wait where
    ``after`` is not given, whatever the exceptions that the policy names. That is an attempt like any other; a task
    without a policy has five.

    :raises UsageError: for a value that is out of its range.
    """

    def __init__(
        self,
        reason: str = "",
        *,
        after: float | None = None,
        max_attempts: int = 5,
        wait: str = Wait.EXPONENTIAL,
        base_seconds: float = 0.1,
        max_seconds: float = 60.0,
        delays_seconds: Sequence[float] = (),
        retry_on: Collection[str | type[BaseException]] = (),
        give_up_on: Collection[str | type[BaseException]] = (),
    ) -> None:
        super().__init__(reason or _wish(after))
        if after is not None and not 0 <= after <= MAX_SECONDS:
            raise UsageError(f"Retry: after must be 0 to {MAX_SECONDS:.0f} seconds, not {after!r}")
        self.after = after
        self.policy = RetryPolicy(
            max_attempts,
            read_wait(wait),
            as_float(base_seconds),
            as_float(max_seconds),
            tuple(map(as_float, delays_seconds)),
            tuple(map(exception_name, retry_on)),
            tuple(map(exception_name, give_up_on)),
        )
        problems = [f"{_PYTHON_NAMES.get(key, key)} {problem}" for key, problem in self.policy.findings()]
        if problems:
            raise UsageError(f"Retry: {'; '.join(problems)}")


_PYTHON_NAMES = {"base": "base_seconds", "max": "max_seconds", "delays": "delays_seconds", "on": "retry_on"}


def read_wait(word: str) -> Wait:
    """:raises UsageError: for a word that names no wait."""
    if word not in list(Wait):
        raise UsageError(f"Retry: wait {wait_problem(word)}")
    return Wait(word)


def wait_problem(word: str) -> str:
    """What a word should be that names no wait, as the end of a sentence."""
    words = [str(each) for each in Wait]
    return f"must be one of {', '.join(words)}{Hints(words).did_you_mean(word)}"


def exception_name(exception: str | type) -> str:
    """The name that a policy knows an exception by: qualified by its module, unless it is a builtin."""
    if isinstance(exception, str):
        return exception.removeprefix("builtins.")
    if exception.__module__ == "builtins":
        return exception.__qualname__
    return f"{exception.__module__}.{exception.__qualname__}"


def names_of(lineage: Iterable[str]) -> set[str]:
    """What a policy may call an exception by: the names of its type and of its bases, qualified and plain."""
    return {form for name in lineage for form in (name, name.rpartition(".")[2])}


def name_findings(key: str, names: tuple[str, ...]) -> Iterator[Finding]:
    """What is wrong with a list of names of exceptions."""
    if len(names) > MAX_NAMES:
        yield key, f"has {len(names)} names; at most {MAX_NAMES} are allowed"
    for name in names:
        if not _EXCEPTION.fullmatch(name):
            yield key, f"must name exceptions, as ValueError or package.module.Error, not {name!r}"


def _wish(after: float | None) -> str:
    return "the task asked to be tried again" + (f" after {as_float(after):g} s" if after is not None else "")
