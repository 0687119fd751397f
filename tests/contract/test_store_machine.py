"""The scripts do what the reference model does, through random lives of random runs."""

from __future__ import annotations

import pytest

from taskmesh.store.opening import open_link
from tests.model.lives import SLICE
from tests.model.machine import search

EXAMPLES, STEPS = 400, 60


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_scripts_do_what_the_model_does(
    redis_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("taskmesh.dispatch.plan.EDGES_PER_SCRIPT", SLICE)
    link = open_link(redis_url, 2.0, 5.0)
    try:
        figures = search(link, namespace, EXAMPLES, STEPS)
    finally:
        link.close()
    with capsys.disabled():
        print(f" {figures.examples} examples, {figures.steps} steps, {figures.words.total()} answers", end=" ")
        print(*(f"{count} {status}" for status, count in sorted(figures.statuses.items())), sep=", ", end=" ")
    assert figures.examples >= EXAMPLES
