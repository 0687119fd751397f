"""What an experiment measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Figures:
    """``duplicates`` are executions beyond one of each node. ``recovery_seconds``: from the last fault to the end of
    every run; ``waited_seconds`` of them passed without user code, of which ``bound_seconds`` may. ``per_second`` nodes
    ended before a fault, and nearly as many ``back_after_seconds`` after its end, where that was measured.
    """

    accepted: int
    ended: int
    executions: int
    duplicates: int
    faults: int
    stale_refused: int
    redriven: int
    dead_letters: int
    recovery_seconds: float
    waited_seconds: float
    bound_seconds: float
    seed: int
    per_second: float | None = None
    back_after_seconds: float | None = None

    def line(self) -> str:
        """All of it in one line."""
        return " ".join(f"{name}={value:g}" for name, value in asdict(self).items() if value is not None)
