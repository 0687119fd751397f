"""Maps over flows that map in turn, over the item that each is given, on the time of a virtual mesh."""

from __future__ import annotations

from typing import Any

import pytest

from taskmesh import Flow, NodeState, Run, RunFailedError, RunState, load_flow
from taskmesh.testing import VirtualMesh

IN_FILE = """
flow: grid
params: {{rows: array}}
nodes:
  row:
    map: ${{params.rows}}
    args: {{values: "${{item}}", at: "${{index}}"}}
    {outer}
    flow:
      params: {{values: array, at: integer}}
      nodes:
        cell:
          map: ${{params.values}}
          task: cell
          args: {{value: "${{item}}", row: "${{params.at}}"}}
          {inner}
        total: {{task: total, args: {{values: "${{nodes.cell.output}}"}}}}
"""


class Grid:
    """A mesh with the tasks of the flow. Cells in ``unlucky`` fail; ``ran`` are those that have run."""

    def __init__(self, mesh: VirtualMesh) -> None:
        self.mesh = mesh
        self.unlucky: set[tuple[int, int]] = set()
        self.ran: list[tuple[int, int]] = []
        self.cell = mesh.task(name="cell")(self._cell)
        self.total = mesh.task(name="total")(lambda values: values)

    def _cell(self, value: int, row: int) -> int:
        self.ran.append((row, value))
        if (row, value) in self.unlucky:
            raise ValueError(f"unlucky {row}, {value}")
        return 10 * row + value

    def in_file(self, outer: str = "", inner: str = "") -> Flow:
        return load_flow(IN_FILE.format(outer=outer, inner=inner), "grid.yaml")

    def in_python(self) -> Flow:
        mesh = self.mesh

        @mesh.flow
        def row(values: list, at: int) -> Any:  # type: ignore[type-arg]
            return self.total(self.cell.map(values, row=at))

        @mesh.flow
        def grid(rows: list) -> Any:  # type: ignore[type-arg]
            return row.map(rows, values=mesh.item, at=mesh.index)

        return grid.compile()

    def submit(self, flow: Flow, rows: int = 4, columns: int = 3) -> Run:
        return self.mesh.submit(flow, rows=[[*range(columns)]] * rows)

    def family(self, run: Run) -> list[Run]:
        """A run and all that was begun for it, at any depth."""
        children = [self.mesh.run(each.child) for each in run.details().nodes if each.child]
        return [run, *(below for child in children for below in self.family(child))]

    def until_stuck(self, count: int) -> None:
        """Let time pass until so many cells have run; no other does within a minute after that."""
        while len(self.ran) < count:
            self.mesh.clock.advance(0.01)
        self.mesh.clock.advance(60.0)


@pytest.fixture
def grid(mesh: VirtualMesh) -> Grid:
    return Grid(mesh)


WHOLE = [[10 * row + value for value in range(3)] for row in range(4)]


def test_both_faces_run_each_cell_once(grid: Grid) -> None:
    for flow in (grid.in_file(), grid.in_python()):
        grid.ran.clear()
        assert grid.submit(flow).result() == WHOLE
        assert sorted(grid.ran) == [(row, value) for row in range(4) for value in range(3)]


def test_a_row_without_cells_is_an_empty_list(grid: Grid) -> None:
    assert grid.mesh.submit(grid.in_file(), rows=[[], [1], []]).result() == [[], [11], []]


def test_a_failed_cell_fails_its_row_and_the_row_the_grid(grid: Grid) -> None:
    grid.unlucky = {(2, 1)}
    run = grid.submit(grid.in_file())
    with pytest.raises(RunFailedError, match=r"'row\[2\]': ChildRunFailed: .*'cell\[1\]': ValueError: unlucky 2, 1"):
        run.result()
    assert all(each.status().ended for each in grid.family(run))


def test_failures_are_taken_on_either_level(grid: Grid) -> None:
    grid.unlucky = {(2, 1)}
    rows = grid.submit(grid.in_file(outer="on_item_failure: continue")).result()
    assert [*rows[:2], rows[3]] == [*WHOLE[:2], WHOLE[3]]
    assert rows[2]["failed"]["type"] == "ChildRunFailed"
    cells = grid.submit(grid.in_file(inner="on_item_failure: continue")).result()
    said = {"failed": {"type": "ValueError", "message": "unlucky 2, 1"}}
    assert cells == [*WHOLE[:2], [20, said, 22], WHOLE[3]]


def test_a_retry_begins_the_failed_rows_alone(grid: Grid) -> None:
    grid.unlucky = {(2, 1)}
    run = grid.submit(grid.in_file(outer="on_item_failure: continue\n    min_success: 4"))
    assert run.wait() is RunState.FAILED
    grid.unlucky.clear()
    grid.ran.clear()
    assert run.retry()
    assert run.result() == WHOLE
    assert sorted(grid.ran) == [(2, 0), (2, 1), (2, 2)]


def test_a_failed_cell_is_retried_in_the_run_of_its_row(grid: Grid) -> None:
    """The row itself has ended, and its parent does not hear of it again."""
    grid.unlucky = {(2, 1)}
    run = grid.submit(grid.in_file(outer="on_item_failure: continue"))
    run.wait()
    row = grid.mesh.run(run.node("row[2]").child)
    grid.unlucky.clear()
    assert row.retry(node="cell")
    assert row.result() == WHOLE[2]
    assert grid.ran.count((2, 1)) == 2
    assert grid.ran.count((2, 0)) == 1


def test_both_levels_keep_to_what_may_run_at_once(grid: Grid) -> None:
    """A cell that waits for its next attempt has begun, and not ended."""
    grid.unlucky = {(row, value) for row in range(9) for value in range(9)}
    inner = "max_in_flight: 3\n          retry: {wait: fixed, base: 1d}"
    run = grid.submit(grid.in_file(outer="max_in_flight: 2", inner=inner), 9, 9)
    grid.until_stuck(6)
    assert sorted(grid.ran) == [(row, value) for row in range(2) for value in range(3)]
    grid.unlucky.clear()
    assert run.result() == [[10 * row + value for value in range(9)] for row in range(9)]


@pytest.mark.parametrize("wish", ["cancel", "terminate"])
def test_all_levels_end_with_the_run_that_the_grid_is_in(grid: Grid, wish: str) -> None:
    grid.unlucky = {(row, 1) for row in range(4)}
    run = grid.submit(grid.in_file(inner="retry: {wait: fixed, base: 1d}"))
    while len(grid.ran) < 12:
        grid.mesh.clock.advance(0.01)
    grid.mesh.clock.advance(1.0)
    family = grid.family(run)
    assert len(family) == 1 + 1 + 4 + 4
    assert getattr(run, wish)()
    run.wait()
    grid.mesh.clock.advance(60.0)
    assert all(each.status().ended for each in family)
    grid.unlucky.clear()
    grid.ran.clear()
    assert run.retry()
    assert run.result() == WHOLE


def test_many_cells_are_bounded_on_both_levels(grid: Grid) -> None:
    run = grid.submit(grid.in_file(outer="max_in_flight: 5", inner="max_in_flight: 4"), 60, 20)
    assert run.result() == [[10 * row + value for value in range(20)] for row in range(60)]
    assert len(grid.ran) == len(set(grid.ran)) == 1200
    items = run.node("row").items
    assert items is not None
    assert items.states == {str(NodeState.SUCCEEDED): 60}
