"""Conducts one experiment and says how it ended."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from tests.nemesis.catalogue import Experiment
from tests.nemesis.figures import Figures
from tests.nemesis.grounds import Grounds, Terms
from tests.nemesis.not_here import NotHereError
from tests.nemesis.trial import Trial


@dataclass(frozen=True, slots=True)
class Verdict:
    """``broken`` says what did not hold; ``missing`` what this machine lacks."""

    experiment: Experiment
    seed: int
    seconds: float
    figures: Figures | None
    broken: str = ""
    missing: str = ""

    @property
    def passed(self) -> bool:
        return not self.broken

    @property
    def word(self) -> str:
        if self.missing:
            return "not here"
        return "ok" if self.passed else "BROKEN"

    def line(self) -> str:
        figures = self.missing or (self.figures.line() if self.figures else "")
        return f"{self.experiment.id:4} {self.experiment.name:28} {self.word:8} {self.seconds:5.1f} s  {figures}"

    def story(self) -> str:
        """What broke, and how to see it again."""
        again = f"./scripts/faults --only {self.experiment.id} --seed {self.seed}"
        return f"{self.experiment.text}\n{self.broken}\nto see it again: {again}"


def conduct(experiment: Experiment, grounds: Grounds, directory: Path, terms: Terms) -> Verdict:
    """Run one experiment to its end; whatever happens in it is told in the verdict."""
    begun = time.monotonic()
    trial = Trial(grounds, directory, terms)
    broken = missing = ""
    try:
        experiment.run(trial)
    except NotHereError as reason:
        missing = str(reason)
    except AssertionError as error:
        broken = str(error) or "an assertion failed"
    finally:
        tail = trial.children.tail()
        trial.close()
    if broken:
        broken = f"{broken}\n{tail}"
    return Verdict(experiment, terms.seed, time.monotonic() - begun, trial.figures, broken, missing)
