"""E9, E14: packets that get lost on the way, and names that lead nowhere."""

from __future__ import annotations

from tests.nemesis import app
from tests.nemesis.catalogue import Catalogue
from tests.nemesis.checker import Bounds
from tests.nemesis.figures import Figures
from tests.nemesis.injected.names import DOMAIN, NAMES, RESOLVED, UNKNOWN
from tests.nemesis.lossy_link import lossy_link
from tests.nemesis.trial import Trial
from tests.nemesis.whole_files import write_whole

REPEATED = 32
LOST_PERCENT = 5
SLOW_SECONDS = 10.0

links = Catalogue()


@links.add("E9", "packets-lost", tier=2)
def packets_lost(trial: Trial) -> Figures:
    """A worker's only way to both servers loses every twentieth packet, in each direction."""
    link = trial.open.enter_context(lossy_link(LOST_PERCENT))
    trial.behind_proxies(link=link)
    trial.watch()
    # What is lost comes again after a fifth of a second at the soonest, so little gets through.
    trial.load(*app.random_shapes, runs=10)
    trial.struck()
    return trial.finish(Bounds(duplicates_at_most=REPEATED))


@links.add("E14", "names-lead-nowhere", tier=2)
def names_lead_nowhere(trial: Trial) -> Figures:
    """All connections of the only worker are cut, and the names of both servers are unknown for ten seconds; the second
    time each look-up takes ten seconds. The worker goes on as soon as names are resolved."""
    names = trial.directory / "names"
    write_whole(names, RESOLVED)
    behind = trial.behind_proxies(0)
    urls = {
        "TASKMESH_BROKER_URL": f"amqp://guest:guest@broker{DOMAIN}:{behind.broker.port}/%2F",
        "TASKMESH_STORE_URL": f"redis://store{DOMAIN}:{behind.store.port}/0",
    }
    worker = trial.worker(env={**urls, NAMES: str(names)})
    trial.watch()
    for trouble in (UNKNOWN, str(SLOW_SECONDS)):
        trial.load(app.diamond, runs=20, seconds=0.02)
        trial.wait(lambda: bool(trial.history.accepted), "runs")
        write_whole(names, trouble)
        behind.broker.reset_all()
        behind.store.reset_all()
        trial.pause(SLOW_SECONDS)
        write_whole(names, RESOLVED)
        trial.struck()
        trial.settle()
    worker.wait_ready()
    return trial.finish(Bounds(duplicates_at_most=2 * REPEATED))
