"""The retry policy and the time limits of a node, read from a flow file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from taskmesh.flows.document import Item
from taskmesh.model.breakers import BreakerRules, default_ramp, mode_findings
from taskmesh.model.durations import DURATION_RULE, as_float, read_duration
from taskmesh.model.policies import (
    DEFAULT_RETRY,
    LIMIT_KEYS,
    RetryPolicy,
    TimeLimits,
    Wait,
    exception_name,
    wait_problem,
)
from taskmesh.model.problems import Path

Fields: TypeAlias = Mapping[str, Item]
Found: TypeAlias = Callable[[Path, str], None]


_IN_SECONDS = ("window", "reset", "ramp")


class PolicyReading:
    """Reads what stands below one node; each value that is no such thing is told to ``found`` and left out."""

    def __init__(self, path: Path, found: Found) -> None:
        self._path = path
        self._found = found

    def retry(self, fields: Fields) -> RetryPolicy:
        return RetryPolicy(
            max_attempts=self.count(fields.get("max_attempts"), "max_attempts", DEFAULT_RETRY.max_attempts),
            wait=self._wait(fields.get("wait")),
            base_seconds=self._delay(fields.get("base"), "base", DEFAULT_RETRY.base_seconds),
            max_seconds=self._delay(fields.get("max"), "max", DEFAULT_RETRY.max_seconds),
            delays_seconds=self._delays(fields.get("delays")),
            retry_on=self._names(fields.get("on"), "on"),
            give_up_on=self._names(fields.get("give_up_on"), "give_up_on"),
        )

    def breaker(self, name: str, fields: Fields) -> BreakerRules:
        """The rules of a breaker, which must be right by themselves: what is wrong is told here."""
        defaults = BreakerRules(name)
        rate = self._number(fields.get("failure_rate"), "failure_rate")
        reset = self._delay(fields.get("reset"), "reset", defaults.reset_seconds)
        rules = BreakerRules(
            name,
            self.count(fields.get("failures"), "failures", defaults.failures),
            rate,
            self._delay(fields.get("window"), "window", defaults.window_seconds),
            self.count(fields.get("min_calls"), "min_calls", defaults.min_calls),
            reset,
            self._delay(fields.get("ramp"), "ramp", default_ramp(reset)),
            self._names(fields.get("exclude"), "exclude"),
        )
        given = {f"{key}_seconds" if key in _IN_SECONDS else key for key in fields}
        for key, problem in (*mode_findings(given), *rules.findings()):
            word = key.removesuffix("_seconds")
            self._found((*self._path, word), f"{word} {problem}")
        return rules

    def limits(self, fields: Fields) -> TimeLimits:
        return TimeLimits(*(self.duration(fields.get(key), (key,)) for key in LIMIT_KEYS))

    def _wrong(self, steps: Path, wanted: str, item: Item) -> None:
        self._found((*self._path, *steps), f"{steps[0]} must be {wanted}, not {item.shown}")

    def count(self, item: Item | None, key: str, default: int) -> int:
        if item is None:
            return default
        if isinstance(item.value, int) and not isinstance(item.value, bool):
            return item.value
        self._wrong((key,), "a whole number", item)
        return default

    def _number(self, item: Item | None, key: str) -> float | None:
        if item is None:
            return None
        if isinstance(item.value, int | float) and not isinstance(item.value, bool):
            return as_float(item.value)
        self._wrong((key,), "a number", item)
        return None

    def _wait(self, item: Item | None) -> Wait:
        if item is None:
            return Wait.EXPONENTIAL
        if item.value in list(Wait):
            return Wait(str(item.value))
        self._found((*self._path, "wait"), f"wait {wait_problem(item.text)}")
        return Wait.EXPONENTIAL

    def duration(self, item: Item | None, steps: Path) -> float | None:
        if item is None:
            return None
        seconds = read_duration(item.value)
        if seconds is None:
            self._wrong(steps, DURATION_RULE, item)
        return seconds

    def _delay(self, item: Item | None, key: str, default: float) -> float:
        seconds = self.duration(item, (key,))
        return default if seconds is None else seconds

    def _delays(self, item: Item | None) -> tuple[float, ...]:
        return tuple(
            seconds
            for position, child in enumerate(self._entries(item, "delays"))
            if (seconds := self.duration(child, ("delays", position))) is not None
        )

    def _names(self, item: Item | None, key: str) -> tuple[str, ...]:
        names = []
        for position, child in enumerate(self._entries(item, key)):
            if isinstance(child.value, str):
                names.append(exception_name(child.value))
            else:
                self._wrong((key, position), "names of exceptions", child)
        return tuple(names)

    def _entries(self, item: Item | None, key: str) -> list[Item]:
        if item is None:
            return []
        if isinstance(item.value, list):
            return item.value
        self._wrong((key,), "a list", item)
        return []
