"""The shape of a Montage workflow: which node waits for which."""

from __future__ import annotations

import json
from graphlib import TopologicalSorter
from itertools import combinations
from pathlib import Path

Shape = dict[str, list[str]]  # parents of each node, parents first

TWIN_BANDS = 3
TWIN_IMAGES = 7
TWIN_OVERLAPS = 15


def read_shape(path: Path) -> Shape:
    """The shape of a recorded execution in the WfCommons format."""
    tasks = json.loads(path.read_text())["workflow"]["specification"]["tasks"]
    parents = {task["id"]: task["parents"] for task in tasks}
    return {node: parents[node] for node in TopologicalSorter(parents).static_order()}


def twin_shape() -> Shape:
    """A generated workflow with the levels and widths of the recorded one: 103 nodes on 8 levels."""
    shape: Shape = {}
    for band in range(TWIN_BANDS):
        shape |= _band(f"b{band}")
    return {**shape, "mViewer": [f"b{band}_mAdd" for band in range(TWIN_BANDS)]}


def _band(name: str) -> Shape:
    projects = [f"{name}_mProject_{image}" for image in range(TWIN_IMAGES)]
    overlaps = list(combinations(projects, 2))[:TWIN_OVERLAPS]
    diffs = {f"{name}_mDiffFit_{i}": list(pair) for i, pair in enumerate(overlaps)}
    concat, model = f"{name}_mConcatFit", f"{name}_mBgModel"
    backgrounds = {f"{name}_mBackground_{i}": [project, model] for i, project in enumerate(projects)}
    table, added = f"{name}_mImgtbl", f"{name}_mAdd"
    return {
        **{project: [] for project in projects},
        **diffs,
        concat: list(diffs),
        model: [concat],
        **backgrounds,
        table: list(backgrounds),
        added: [table, *backgrounds],
        f"{name}_mViewer": [added],
    }
