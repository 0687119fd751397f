"""The mistakes that ./scripts/mutants puts into the code can still be put there, and their experiments exist."""

from __future__ import annotations

import pytest

from tests.nemesis.experiments import experiments
from tests.nemesis.grounds import Terms
from tests.nemesis.mutants import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.id)
def test_a_mistake_has_its_place(mutant: Mutant) -> None:
    assert (Terms(1).root / mutant.file).read_text().count(mutant.old) == 1
    assert mutant.killer in {experiment.id for experiment in experiments(2)}


def test_no_two_experiments_share_an_id() -> None:
    ids = [experiment.id for experiment in experiments(2)]
    assert len(ids) == len(set(ids))
