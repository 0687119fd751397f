"""Nodes that wait and run no task: for a time to pass, for a signal, for somebody's decision.

They hold nothing while they wait: no executor, no message. Every worker of their pool can take them up and end them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from taskmesh.model.durations import as_float, read_duration
from taskmesh.model.flow import Node
from taskmesh.model.payloads import payload_problem, schema_problem
from taskmesh.model.problems import Path
from taskmesh.model.references import NAME_PATTERN
from taskmesh.model.steps import Step
from taskmesh.model.values import Value

_NAME = re.compile(NAME_PATTERN)

MAX_WAIT_SECONDS = 36_600 * 86_400.0
"""A hundred years."""

SECONDS = "seconds"
"""The argument of a sleep that only a run knows the length of."""

QUESTION = "question"
"""The argument of an approval that says what is to be decided."""

SLEEPING, AWAITING = "sleep", "signal"
"""As the cause of a node that is parked: until a time, or until a signal comes."""


def wait_problem(seconds: float) -> str | None:
    """What is wrong with the length of a wait, as the end of a sentence."""
    if not 0 < seconds <= MAX_WAIT_SECONDS:
        return f"must be more than 0 and at most {MAX_WAIT_SECONDS:.0f} seconds (100 years), not {as_float(seconds):g}"
    return None


@dataclass(frozen=True, slots=True)
class Sleep(Step):
    """Waits so many seconds from when it is ready; None: as long as its argument ``seconds`` says."""

    seconds: float | None = None

    kind: ClassVar[str] = "sleep"

    def findings(self) -> Iterator[tuple[Path, str]]:
        if self.seconds is not None and (problem := wait_problem(self.seconds)):
            yield ("sleep",), f"sleep {problem}"


def slept_seconds(value: Value) -> float:
    """The length of a sleep, from what a reference of it gave.

    :raises ValueError: it is no length of time that can be waited.
    """
    seconds = read_duration(value)
    if seconds is None:
        raise ValueError(f"sleep must be a number of seconds, or a text like 90s or 2h, not {value!r:.100}")
    if problem := wait_problem(seconds):
        raise ValueError(f"sleep {problem}")
    return seconds


class Default(NamedTuple):
    """What a wait gives as its output when its time is over."""

    value: Value


@dataclass(frozen=True, slots=True)
class Wait(Step):
    """Waits until a signal comes; its payload is the output of the node.

    ``signal`` is its name, empty where that is the node's. ``payload`` is a JSON Schema that payloads must keep to.
    When ``timeout_seconds`` are over since the node was ready, its output is the ``default``; without, it fails.
    """

    signal: str = ""
    payload: Mapping[str, Any] | None = None
    timeout_seconds: float | None = None
    default: Default | None = None

    kind: ClassVar[str] = "wait"

    def findings(self) -> Iterator[tuple[Path, str]]:
        if self.signal and not _NAME.fullmatch(self.signal):
            yield ("signal",), f"the name of a signal must match {NAME_PATTERN}, not {self.signal!r:.200}"
        yield from _of_timeout(self.timeout_seconds)
        if self.default is not None and self.timeout_seconds is None:
            yield ("default",), "'default' needs a 'timeout' beside it: without one it would never be used"
        if self.payload is not None:
            yield from self._of_payload(self.payload)

    def _of_payload(self, payload: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        if problem := schema_problem(payload):
            yield ("payload",), f"payload {problem}"
        elif self.default is not None and (problem := payload_problem(payload, self.default.value)):
            yield ("default",), f"the default does not keep to the schema of the payload: {problem}"


@dataclass(frozen=True, slots=True)
class Approve(Step):
    """Waits until somebody approves or rejects; fails when it is rejected, or nobody has decided in time.

    What is to be decided is the argument ``question`` of its node.
    """

    timeout_seconds: float | None = None

    kind: ClassVar[str] = "approve"

    def findings(self) -> Iterator[tuple[Path, str]]:
        return _of_timeout(self.timeout_seconds)


WAITING = (Sleep, Wait, Approve)
"""The steps of nodes that wait."""


def _of_timeout(seconds: float | None) -> Iterator[tuple[Path, str]]:
    if seconds is not None and (problem := wait_problem(seconds)):
        yield ("timeout",), f"timeout {problem}"


def hears(node: Node) -> Wait | Approve | None:
    """The step of a node that waits for something that somebody sends; None for any other node."""
    return node.step if isinstance(node.step, Wait | Approve) else None


def signal_of(node: Node) -> str:
    """The name of what a node waits for."""
    return (node.step.signal if isinstance(node.step, Wait) else "") or node.name


def waiting_findings(nodes: Sequence[Node]) -> Iterator[tuple[Path, str]]:
    """What is wrong with nodes that wait, beside their steps alone."""
    for node in nodes:
        if isinstance(node.step, Sleep) and (node.step.seconds is None) != (SECONDS in node.args):
            yield ("nodes", node.name, "sleep"), f"a sleep has its seconds, or an argument {SECONDS!r} that gives them"
        if isinstance(node.step, Approve) and not (isinstance(node.args, Mapping) and node.args.get(QUESTION)):
            yield ("nodes", node.name, "approve"), "an approval must say what is to be decided"
    yield from _of_signals(nodes)


def _of_signals(nodes: Sequence[Node]) -> Iterator[tuple[Path, str]]:
    """Signals that do not say which node they are for."""
    hearing = [node for node in nodes if hears(node)]
    counts = Counter(signal_of(node) for node in hearing)
    names = {node.name for node in hearing}
    for node in hearing:
        signal = signal_of(node)
        if counts[signal] > 1 or (signal != node.name and signal in names):
            sentence = f"signal {signal!r} would be for several nodes that wait; let one wait, and the others need it"
            yield ("nodes", node.name), sentence


def place_of_signal(nodes: Sequence[Node], name: str) -> int | None:
    """The place of the node that waits for a signal of this name, or has this name and waits for another."""
    by_signal = {signal_of(node): at for at, node in enumerate(nodes) if hears(node)}
    by_node = {node.name: at for at, node in enumerate(nodes) if hears(node)}
    return by_signal.get(name, by_node.get(name))
