"""All experiments."""

from __future__ import annotations

from tests.nemesis.catalogue import Experiment, place_of
from tests.nemesis.experiments_answers import answers
from tests.nemesis.experiments_breakers import breakers
from tests.nemesis.experiments_broker import broker
from tests.nemesis.experiments_clocks import clocks
from tests.nemesis.experiments_death import death
from tests.nemesis.experiments_disk import disk
from tests.nemesis.experiments_links import links
from tests.nemesis.experiments_messages import messages
from tests.nemesis.experiments_network import network
from tests.nemesis.experiments_pauses import pauses
from tests.nemesis.experiments_races import races
from tests.nemesis.experiments_sagas import sagas
from tests.nemesis.experiments_scale import scale
from tests.nemesis.experiments_schedules import schedules
from tests.nemesis.experiments_soak import soak
from tests.nemesis.experiments_store import store
from tests.nemesis.experiments_tls import tls

CATALOGUES = (
    death,
    pauses,
    clocks,
    broker,
    store,
    disk,
    network,
    links,
    tls,
    answers,
    messages,
    scale,
    soak,
    races,
    sagas,
    breakers,
    schedules,
)


def experiments(tier: int) -> list[Experiment]:
    """Those of a tier and of all below it, in the order of the matrix."""
    chosen = [each for catalogue in CATALOGUES for each in catalogue.up_to(tier)]
    return sorted(chosen, key=lambda each: place_of(each.id))
