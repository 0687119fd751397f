"""What an experiment measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class Figures:
    """``duplicates`` are executions beyond one of each node. ``recovery_seconds``: from the last fault to the end of
    every run; ``waited_seconds`` of them passed without user code, of which ``bound_seconds`` may. ``per_second`` nodes
    ended before a fault, and nearly as many ``back_after_seconds`` after its end, where it was measured. ``undone`` of
    ``committed`` nodes were undone in runs that were. ``looks`` at open runs found a node with nothing to bring it on
    for ``forsaken_seconds`` at the longest.
    """

    accepted: int
    ended: int
    executions: int
    duplicates: int
    faults: int
    stale_refused: int
    redriven: int
    dead_letters: int
    committed: int
    undone: int
    looks: int
    forsaken_seconds: float
    recovery_seconds: float
    waited_seconds: float
    bound_seconds: float
    seed: int
    per_second: float | None = None
    back_after_seconds: float | None = None
    measured: Mapping[str, float] = field(default_factory=dict)
    """What only this experiment measures."""

    def line(self) -> str:
        """All of it in one line."""
        numbers = {name: value for name, value in asdict(self).items() if name != "measured" and value is not None}
        return " ".join(f"{name}={value:g}" for name, value in numbers.items()) + self.measured_text("; ")

    def measured_text(self, before: str) -> str:
        """What only this experiment measures, after ``before``; empty where that is nothing."""
        return (
            before + ", ".join(f"{what}: {value:g}" for what, value in self.measured.items()) if self.measured else ""
        )
