"""All that the store keeps of some runs, compared with what the reference model expects."""

from __future__ import annotations

from collections.abc import Mapping

from tests.model.invariants import check_history, check_kept, check_next_events
from tests.model.lab import Lab
from tests.model.lives import Run, projection
from tests.model.steering import FORK
from tests.model.stored import Stored


def check_alike(lab: Lab, runs: Mapping[str, Run]) -> None:
    """:raises AssertionError: the store keeps something else, or something that must never be."""
    stored = lab.read({run_id: run.plan for run_id, run in runs.items()})
    assert stored.outboxes == {
        (run.model.shape.pool_of(node), run_id, node) for run_id, run in runs.items() for node in run.model.outbox
    }
    assert stored.timers == {
        (run_id, node): due for run_id, run in runs.items() for node, due in run.model.timers.items()
    }
    ended = {run_id for run_id, run in runs.items() if run.model.has_ended}
    assert (stored.open_runs, stored.closed_runs) == (runs.keys() - ended, ended)
    for run_id, run in runs.items():
        _check_run(stored, run_id, run)
        sharing = (other for each, other in runs.items() if _share_flow(lab, runs, each, run_id))
        open_users = sum(not other.model.has_ended for other in sharing)
        assert stored.users[run_id] == (open_users, open_users == 0)


def _check_run(stored: Stored, run_id: str, run: Run) -> None:
    found = stored.runs[run_id]
    assert found == projection(run.model)
    assert stored.retrying[run_id] == run.model.retrying
    check_history(run.history, found, len(run.plan.flow.nodes))
    kept = {node for _, each, node in stored.outboxes if each == run_id} | run.model.forgotten
    check_kept(found, kept)
    if found["status"] in ("running", "compensating") and found["paused"] != FORK:
        states = {at: node[0] for at, node in found["nodes"].items()}
        check_next_events(run.model.shape, states, kept, run.model.timers, run.model.paused)
    run.history = found


def _share_flow(lab: Lab, runs: Mapping[str, Run], run_id: str, other_id: str) -> bool:
    partition = lab.keys.partition_of
    same_body = runs[run_id].plan.hash == runs[other_id].plan.hash
    return same_body and partition(run_id) is partition(other_id)
