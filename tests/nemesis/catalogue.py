"""The list of all experiments, by the names of the fault matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from tests.nemesis.figures import Figures
from tests.nemesis.trial import Trial

Run: TypeAlias = Callable[[Trial], Figures]


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment. Tier 0 and 1 run with the tests; ``text`` says what strikes and what must hold."""

    id: str
    name: str
    tier: int
    text: str
    run: Run


class Catalogue:
    """Experiments of one part of the matrix."""

    def __init__(self) -> None:
        self._experiments: dict[str, Experiment] = {}

    def add(self, id_: str, name: str, tier: int) -> Callable[[Run], Run]:
        """Registers a function as an experiment; its docstring is the experiment's text."""

        def register(run: Run) -> Run:
            assert id_ not in self._experiments, f"two experiments are called {id_}"
            assert run.__doc__, f"experiment {id_} does not say what it does"
            self._experiments[id_] = Experiment(id_, name, tier, " ".join(run.__doc__.split()), run)
            return run

        return register

    def up_to(self, tier: int) -> list[Experiment]:
        """Those of a tier and of all below it."""
        return [each for each in self._experiments.values() if each.tier <= tier]


def place_of(id_: str) -> tuple[str, int, str]:
    """Sorts ids as the matrix does: A2 before A10."""
    return id_[0], int("".join(filter(str.isdigit, id_))), id_
