"""The example apps, tested as their users would test them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from taskmesh import CompensationFailedError, RunFailedError, load_flow_file
from taskmesh.testing import (
    MeshFactory,
    VirtualMesh,
    assert_attempts,
    assert_compensated,
    assert_order,
    assert_states,
)
from workers import etl, orders, replay

FLOWS = Path(__file__).parents[2] / "configs" / "flows"


@pytest.fixture
def shop(mesh_factory: MeshFactory, monkeypatch: pytest.MonkeyPatch) -> VirtualMesh:
    monkeypatch.setattr(orders, "SERVICE_SECONDS", 0.0)
    return mesh_factory(orders.mesh)


def test_an_order_is_reserved_charged_shipped_and_told(shop: VirtualMesh) -> None:
    run = shop.submit(orders.order, order_id="o-1", amount=9.5)

    assert run.result().startswith("order o-1 is on its way: tracking-")
    assert_order(run, "reserve", "charge", "ship", "notify")
    assert_compensated(run)
    assert shop.calls(orders.charge)[0].arguments == {"order_id": "o-1", "amount": 9.5}


def test_a_declined_card_puts_the_goods_back(shop: VirtualMesh) -> None:
    run = shop.submit(orders.order, order_id="o-1", amount=orders.CARD_LIMIT + 1)

    with pytest.raises(RunFailedError, match="is over the limit"):
        run.result()
    assert_states(run, reserve="succeeded", charge="failed", ship="upstream_failed", notify="upstream_failed")
    assert_attempts(run, ship=0)
    assert_compensated(run, "reserve")
    [parcel] = [call.output["parcel"] for call in shop.calls(orders.reserve)]
    assert [call.arguments["result"] for call in shop.calls(orders.release)] == [{"parcel": parcel}]


def test_a_carrier_that_refuses_has_all_undone(shop: VirtualMesh) -> None:
    shop.stub(orders.ship, raises=ConnectionError("no carrier"))
    run = shop.submit(orders.order, order_id="o-1")

    assert run.wait() == "compensated"
    assert_compensated(run, "charge", "reserve")
    assert shop.calls(orders.refund)[0].arguments["result"]["amount"] == 0.0


def test_a_refund_that_fails_is_never_passed_over(shop: VirtualMesh) -> None:
    shop.stub(orders.ship, raises=ConnectionError("no carrier"))
    with shop.stub(orders.refund, raises=ConnectionError("no bank")):
        run = shop.submit(orders.order, order_id="o-1")
        with pytest.raises(CompensationFailedError):
            run.result()
    assert_compensated(run)
    run.compensate()

    assert run.wait() == "compensated"
    assert_compensated(run, "charge", "reserve")


def test_the_order_of_the_flow_file_survives_a_worker(shop: VirtualMesh) -> None:
    flow = load_flow_file(FLOWS / "order.yaml", shop.registry)
    shop.faults.worker_dies(orders.charge, after_effect=True)
    run = shop.submit(flow, order_id="o-1", amount=9.5)

    run.result()
    first, second = shop.calls(orders.charge)
    assert first.output == second.output
    assert_attempts(run, reserve=1, charge=2, ship=1, notify=1)


def test_slices_of_a_directory_are_counted_and_joined(mesh_factory: MeshFactory, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(30):
        (source / f"{number}.txt").write_text("one two\n" * number)
    mesh = mesh_factory(etl.mesh)
    run = mesh.submit(etl.etl, directory=str(source), report_directory=str(tmp_path / "out"))

    assert run.result()["lines"] == sum(range(30))
    assert_order(run, "list_files", [f"count_{number + 1}" for number in range(etl.SLICES)], "report")
    assert "- 30 files" in (tmp_path / "out" / "report.md").read_text()


def test_a_report_that_is_written_twice_is_one_report(mesh_factory: MeshFactory, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n")
    mesh = mesh_factory(etl.mesh)
    mesh.faults.executor_dies(etl.report, after_effect=True)
    flow = load_flow_file(FLOWS / "etl.yaml", mesh.registry)
    run = mesh.submit(flow, directory=str(tmp_path), report_directory=str(tmp_path / "out"))

    assert run.result()["files"] == 1
    assert_attempts(run, report=2)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.md"]


def test_a_replay_hands_on_what_was_recorded(mesh_factory: MeshFactory) -> None:
    mesh = mesh_factory(replay.mesh)

    @mesh.flow
    def recorded() -> object:
        first = replay.step("first", "bin/first", 0, 100, {}, {})
        return replay.step("second", "bin/second", 0, 10, {"first": first}, {"first": 100}).named("second")

    output = mesh.submit(recorded).result()
    assert output == json.loads(json.dumps(output))
    assert len(output["payload"]) == 10
