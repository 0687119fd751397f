"""Recorded executions of real scientific workflows, replayed on real servers by two workers."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from taskmesh import Flow, RunState
from taskmesh.flows.wfcommons import Replay, import_wfcommons, import_wfcommons_file
from tests.integration.mesh_bench import MeshBench

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
PATIENCE_SECONDS = 120.0
REPLAY = Replay(scale=0.0005, max_bytes=4096)

# Level by level: how many tasks, as the recordings have them.
SHAPES = {
    "montage-2mass-01d": (7, 18, 1, 1, 7, 1, 1, 1),
    "epigenomics-hep-1seq-50k": (1, 16, 16, 16, 16, 1, 1, 1),
    "blast-small": (1, 40, 2),
}


def _flow(name: str) -> Flow:
    recorded = DATA / f"{name}.json"
    if recorded.exists():
        return import_wfcommons_file(recorded, REPLAY)
    warnings.warn(f"{recorded} is not here; a workflow of the same shape is generated", stacklevel=2)
    return import_wfcommons(_generated(SHAPES[name]), name, REPLAY)


def _generated(levels: tuple[int, ...]) -> dict[str, Any]:
    """A document in which each task needs one task of the level before, and a task alone on its level needs all."""
    names = [[f"level{depth}_{place}" for place in range(width)] for depth, width in enumerate(levels)]
    tasks = [
        {"id": name, "name": name, "parents": _parents(names, depth, place), "children": [], "outputFiles": [name]}
        for depth, level in enumerate(names)
        for place, name in enumerate(level)
    ]
    files = [{"id": task["id"], "sizeInBytes": 1000} for task in tasks]
    executed = [{"id": task["id"], "runtimeInSeconds": 20.0} for task in tasks]
    workflow = {"specification": {"tasks": tasks, "files": files}, "execution": {"tasks": executed}}
    return {"name": "generated", "schemaVersion": "1.5", "workflow": workflow}


def _parents(names: list[list[str]], depth: int, place: int) -> list[str]:
    if depth == 0:
        return []
    above = names[depth - 1]
    return above if len(names[depth]) == 1 else [above[place % len(above)]]


@pytest.mark.filterwarnings("default:.*is generated")
@pytest.mark.parametrize("name", SHAPES)
def test_each_node_runs_once_and_after_its_parents(bench: MeshBench, name: str) -> None:
    flow = _flow(name)
    for _ in range(2):
        bench.worker(app="workers.replay")
    run = bench.mesh.submit(flow)
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.SUCCEEDED
    details = run.details()
    assert len(details.nodes) == len(flow.nodes)
    assert Counter(node.attempts for node in details.nodes) == {1: len(flow.nodes)}
    ends = {node.name: node.finished_at for node in details.nodes}
    for node in details.nodes:
        assert node.started_at is not None
        for parent in node.needs:
            parent_end = ends[parent]
            assert parent_end is not None
            assert node.started_at >= parent_end
