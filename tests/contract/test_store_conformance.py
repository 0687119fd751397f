"""The scripts do what the reference model does: every call, in every situation of a list."""

from __future__ import annotations

import pytest

from taskmesh.model.states import RunState
from taskmesh.store.link import Link
from tests.model.lives import SLICE
from tests.model.situations import SITUATIONS
from tests.model.tour import Tour

ANSWERS = {
    "admit_run": {"same", "conflict"},
    "fork_run": {"same", "conflict", "preparing"},
    "inherit_nodes": {"inherited", "running"},
    "claim_node": {"claimed", "early", "ended", "future", "held", "paused"},
    "settle_node": {"settled", "again", "stale", "unknown"},
    "retry_node": {"retrying", "told", "again", "stale", "unknown"},
    "tell_parent": {"woken", "again", "kept", "settled"},
    "beat_node": {"beaten", "stale", "unknown"},
    "wake_node": {"woken", "again", "early", "settled"},
    "signal_node": {"signalled", "again", "taken", "ended"},
    "spread_node": {"spread", "again", "behind", "stale", "unknown"},
    "release_node": {"released", "stale"},
    "redrive_node": {"redrive", "held", "retrying", "settled"},
    "halt_run": {"halted", "ended", "preparing", "nothing"},
    "compensate_run": {"compensating", "ended", "nothing"},
    "pause_run": {"paused", "ended", "ending", "preparing"},
    "resume_run": {"resumed", "ended", "running", "preparing"},
    "terminate_run": {"terminated", "ended"},
    "mark_node": {"marked", "again", "ended", "preparing", "early"},
    "reopen_run": {"reopened", "ended", "running", "preparing"},
    "reset_nodes": {"reset", "running"},
}
"""Every answer of every script about a run that is there: a tour that never met one proves less than it says."""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_call_does_what_the_model_does(
    link: Link, namespace: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("taskmesh.dispatch.plan.EDGES_PER_SCRIPT", SLICE)
    tour = Tour(link, namespace)
    tour.make_calls_of(*ANSWERS)
    with capsys.disabled():
        print(f" {len(SITUATIONS)} situations, {sum(words.total() for words in tour.words.values())} calls", end=" ")
    assert {script: set(words) for script, words in tour.words.items()} == ANSWERS
    assert tour.statuses == set(RunState) - {RunState.PAUSED}
