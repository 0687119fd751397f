"""G: large and bad graphs, large values, slow workers, retention."""

from __future__ import annotations

import redis

from taskmesh.errors import TaskmeshError
from taskmesh.flows import load_flow
from taskmesh.model.flow import Flow, Node
from tests.nemesis import app, shapes
from tests.nemesis.catalogue import Catalogue
from tests.nemesis.checker import Bounds
from tests.nemesis.figures import Figures
from tests.nemesis.trial import Trial

SLOWEST_SCRIPT_SECONDS = 0.05
"""Far above what a script takes, since this machine may do other things at the same moment."""

scale = Catalogue()


def _one_run(trial: Trial, flow: Flow) -> Figures:
    client = redis.Redis.from_url(trial.redis.url)
    client.config_set("slowlog-log-slower-than", int(SLOWEST_SCRIPT_SECONDS * 1_000_000))
    client.slowlog_reset()
    trial.workers(2)
    trial.watch()
    trial.load(flow, runs=1, batch=1)
    trial.struck()
    trial.settle()
    slow = [entry["command"][:60] for entry in client.slowlog_get() if entry["command"].startswith(b"EVAL")]
    client.close()
    figures = trial.finish()
    assert not slow, f"scripts took longer than {SLOWEST_SCRIPT_SECONDS} s: {slow}"
    return figures


@scale.add("G2", "large-graph", tier=2)
def large_graph(trial: Trial) -> Figures:
    """One run of five thousand nodes in layers; no script holds Redis for long."""
    return _one_run(trial, shapes.layered_flow("large", layers=50, width=100, parents=3, seed=trial.seed))


@scale.add("G3", "wide-join", tier=2)
def wide_join(trial: Trial) -> Figures:
    """Three thousand nodes become ready at once, and one waits for all of them."""
    middle = [f"m{number}" for number in range(3000)]
    nodes = (
        Node("first", "step"),
        *(Node(name, "step", {"parents": ["${nodes.first.output}"]}, ("first",)) for name in middle),
        Node("last", "step", {"parents": [f"${{nodes.{name}.output}}" for name in middle]}, tuple(middle)),
    )
    return _one_run(trial, shapes.checked("wide", nodes))


@scale.add("G4", "long-chain", tier=2)
def long_chain(trial: Trial) -> Figures:
    """A chain of a thousand nodes."""
    return _one_run(trial, shapes.layered_flow("long", layers=1000, width=1, parents=1, seed=trial.seed))


BAD_FLOWS = {
    "a cycle": "flow: f\nnodes: {a: {task: step, needs: [b]}, b: {task: step, needs: [a]}}",
    "a node that needs itself": "flow: f\nnodes: {a: {task: step, needs: [a]}}",
    "a name twice": "flow: f\nnodes:\n  a: {task: step}\n  a: {task: step}",
    "an unknown need": "flow: f\nnodes: {a: {task: step, needs: [z]}}",
    "no nodes": "flow: f\nnodes: {}",
    "a line break in a name": 'flow: f\nnodes: {"a\\r\\nb": {task: step}}',
    "an unknown reference": 'flow: f\nnodes: {a: {task: step, args: {x: "${nodes.z.output}"}}}',
    "no flow at all": "[1, 2",
    "a tag": "flow: !!python/object/apply:os.system [id]\nnodes: {a: {task: step}}",
    "a bomb": "flow: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nnodes: {a: {task: step, args: {x: *c}}}",
}


@scale.add("G5", "bad-graphs", tier=1)
def bad_graphs(trial: Trial) -> Figures:
    """Cycles, unknown names, names twice, tags and bombs: each is refused with a sentence, and nothing is stored."""
    client = redis.Redis.from_url(trial.redis.url)
    before = client.dbsize()
    for what, text in BAD_FLOWS.items():
        assert _refused(trial, text), f"{what} was accepted"
        trial.struck()
    assert client.dbsize() == before, "a refused flow left something in the store"
    client.close()
    return trial.finish()


def _refused(trial: Trial, text: str) -> bool:
    try:
        trial.mesh.submit(load_flow(text, "flow.yaml"))
    except TaskmeshError as error:
        return bool(str(error))
    return False


@scale.add("G7", "slow-worker", tier=2)
def slow_worker(trial: Trial) -> Figures:
    """One worker has a single busy executor; what waits behind its long tasks goes to the other."""
    trial.worker()
    trial.load(app.one, runs=2, batch=2, seconds=8.0)
    trial.await_effects(2, "begin")
    trial.worker()
    trial.watch()
    trial.load(app.diamond, runs=40)
    trial.struck()
    trial.wait(lambda: len(trial.effects("end")) >= 160, "work that does not wait behind long tasks", 7.5)
    return trial.finish()


@scale.add("G9", "large-values", tier=2)
def large_values(trial: Trial) -> Figures:
    """Values of nearly a megabyte go from node to node; messages stay small all the same."""
    trial.workers(2)
    trial.load(app.heavy, runs=10, size=900_000)
    trial.struck()
    return trial.finish()


@scale.add("G12", "retention", tier=2)
def retention(trial: Trial) -> Figures:
    """Runs are kept for two seconds only while work goes on: their keys go, and no live run is touched."""
    trial.worker(env={"TASKMESH_STORE__RETENTION_SECONDS": "2"})
    trial.load(app.diamond, runs=20)
    trial.settle()
    gone = trial.history.accepted
    trial.load(app.chain, runs=10, seconds=0.1)
    trial.wait(lambda: not any(trial.ledger.states(gone)), "end of the retention")
    trial.struck()
    figures = trial.finish(Bounds(losable=frozenset(trial.history.accepted)))
    assert figures.executions == 20 * 4 + 10 * 20, "a run was forgotten before its end"
    return figures
