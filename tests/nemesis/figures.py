"""What an experiment measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Figures:
    """``duplicates`` are executions beyond one of each node; ``recovery_seconds``: from the last fault to the end of
    every run."""

    accepted: int
    ended: int
    executions: int
    duplicates: int
    faults: int
    stale_refused: int
    redriven: int
    dead_letters: int
    recovery_seconds: float
    seed: int

    def line(self) -> str:
        """All of it in one line."""
        return " ".join(f"{name}={value:g}" for name, value in asdict(self).items())
