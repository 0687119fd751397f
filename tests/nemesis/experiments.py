"""All experiments."""

from __future__ import annotations

from tests.nemesis.catalogue import Experiment, place_of
from tests.nemesis.experiments_answers import answers
from tests.nemesis.experiments_broker import broker
from tests.nemesis.experiments_death import death
from tests.nemesis.experiments_messages import messages
from tests.nemesis.experiments_network import network
from tests.nemesis.experiments_pauses import pauses
from tests.nemesis.experiments_races import races
from tests.nemesis.experiments_scale import scale
from tests.nemesis.experiments_schedules import schedules
from tests.nemesis.experiments_store import store

CATALOGUES = (death, pauses, broker, store, network, answers, messages, scale, races, schedules)


def experiments(tier: int) -> list[Experiment]:
    """Those of a tier and of all below it, in the order of the matrix."""
    chosen = [each for catalogue in CATALOGUES for each in catalogue.up_to(tier)]
    return sorted(chosen, key=lambda each: place_of(each.id))


NOT_YET: dict[str, str] = {
    "A13": "compensation is not part of this version",
}
"""Experiments of the matrix whose subject does not exist."""
