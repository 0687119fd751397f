"""What a mesh refuses before it looks for any server."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskmesh import Mesh, UsageError


@pytest.fixture
def mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mesh:
    monkeypatch.chdir(tmp_path)
    return Mesh()


def test_a_task_on_its_own_is_refused_what_its_function_does_not_take(mesh: Mesh, tmp_path: Path) -> None:
    @mesh.task(name="reserve")
    def reserve(order_id: str, amount: float = 0.0) -> str:
        return f"{order_id} {amount}"

    with pytest.raises(UsageError, match=r"task 'reserve' is missing the argument\(s\) 'order_id'"):
        mesh.submit(reserve, amount=1.0)
    with pytest.raises(UsageError, match=r"task 'reserve' takes no argument 'orderid'"):
        mesh.submit(reserve, order_id="o-1", orderid="o-1")
    with pytest.raises(UsageError, match=r"takes no argument 'colour'"):
        mesh.submit_many(reserve, [{"order_id": "o-1"}, {"order_id": "o-2", "colour": "red"}])
    assert list(tmp_path.iterdir()) == []
