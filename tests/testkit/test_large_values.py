"""Large values in a virtual mesh: put aside, mapped over, handed on, submitted and decided over as on real servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taskmesh import RunFailedError
from taskmesh.config.settings import PayloadSection, Settings
from taskmesh.testing import MeshFactory, VirtualMesh

THRESHOLD_BYTES = 1024


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "place"


@pytest.fixture
def large(mesh_factory: MeshFactory, place: Path) -> VirtualMesh:
    """A mesh that puts values of a kilobyte aside."""
    payload = PayloadSection(claim_check_bytes=THRESHOLD_BYTES, url=place.as_uri())
    return mesh_factory(settings=Settings(payload=payload))


def _files(place: Path) -> list[Path]:
    return [path for path in place.rglob("*") if path.is_file() and path.name != "owner"]


def test_the_whole_way(large: VirtualMesh, place: Path) -> None:
    @large.task
    def rows(seed: Any) -> list[str]:
        return [f"{seed[0]}{number:0500}" for number in range(10)]

    @large.task
    def measure(row: str, table: Any) -> str:
        return row[-3:] + "x" * len(table)

    @large.flow
    def inner(table: Any) -> Any:
        return measure.map(rows(table), table=table)

    @large.flow
    def outer(seed: Any) -> Any:
        return inner(table=rows(seed)).when("size(params.seed) == 2000")

    run = large.submit(outer, seed="y" * 2000)
    assert run.result() == [f"{number:03}" + "x" * 10 for number in range(10)]
    assert len(_files(place)) > 3


def test_what_is_missing_is_told(large: VirtualMesh, place: Path) -> None:
    @large.task
    def rows() -> list[str]:
        return ["x" * 100] * 100

    @large.task
    def size(row: str) -> int:
        return len(row)

    @large.flow
    def sizes() -> Any:
        return size.map(rows()).after(large.wait_signal("go"))

    run = large.submit(sizes)
    large.settle()
    [file] = _files(place)
    file.unlink()
    run.signal("go")
    with pytest.raises(RunFailedError, match="the output of node 'rows': a value of run"):
        run.result()


def test_what_is_matched_may_be_in_what_was_put_aside(large: VirtualMesh) -> None:
    @large.task
    def order() -> dict[str, str]:
        return {"id": "o-1", "rest": "x" * 5000}

    @large.flow
    def paid() -> Any:
        return large.wait_event("paid", "paid", match={"order": order()["id"]})

    late, early = large.submit(paid), large.submit(paid)
    large.settle()
    assert "it asks of the event: order = 'o-1'" in late.explain("paid").nodes[0].reasons
    large.publish_event("paid", {"order": "o-1", "amount": 5})
    assert [run.result() for run in (late, early, large.submit(paid))] == [{"order": "o-1", "amount": 5}] * 3
