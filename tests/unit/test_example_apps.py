"""The example apps: their tasks as plain functions, their flows as graphs."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskmesh import Flow, load_flow_file
from workers import etl, orders, replay

FLOWS = Path(__file__).parents[2] / "configs" / "flows"


@pytest.fixture(autouse=True)
def _quick_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "SERVICE_SECONDS", 0.0)


def shape(flow: Flow) -> dict[str, set[str]]:
    return {node.name: set(node.needs) for node in flow.nodes}


def test_an_order_gets_the_same_answers_every_time() -> None:
    parcel = orders.reserve("o-1")["parcel"]
    tracking = orders.ship("o-1", parcel)["tracking"]
    receipt = orders.charge("o-1", 9.5)["receipt"]

    assert orders.reserve("o-1")["parcel"] == parcel
    assert orders.reserve("o-2")["parcel"] != parcel
    said = orders.notify("o-1", receipt, tracking)
    assert tracking in said
    assert receipt in said


def test_a_charge_over_the_limit_is_declined() -> None:
    assert orders.charge("o-1", orders.CARD_LIMIT)["amount"] == orders.CARD_LIMIT
    with pytest.raises(orders.PaymentDeclinedError, match="o-1"):
        orders.charge("o-1", orders.CARD_LIMIT + 1)
    with pytest.raises(ValueError, match="negative"):
        orders.charge("o-1", -1)


def test_the_order_flows_of_python_and_yaml_have_one_shape() -> None:
    written = load_flow_file(FLOWS / "order.yaml", orders.mesh.registry)

    assert shape(written) == shape(orders.order.compile())
    assert shape(written) == {
        "reserve": set(),
        "charge": {"reserve"},
        "ship": {"reserve", "charge"},
        "notify": {"charge", "ship"},
    }


def test_the_etl_flows_fan_out_and_join() -> None:
    written = load_flow_file(FLOWS / "etl.yaml", etl.mesh.registry)
    for flow, slices in ((written, 4), (etl.etl.compile(), etl.SLICES)):
        counts = {f"count_{number}" for number in range(1, slices + 1)}
        assert shape(flow) == {
            "list_files": set(),
            **{name: {"list_files"} for name in counts},
            "report": counts,
        }


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "inner" / "__pycache__").mkdir(parents=True)
    (source / ".hidden").mkdir()
    (source / "a.txt").write_bytes(b"one two\nthree\n")
    (source / "inner" / "b.py").write_bytes(b"four\n")
    for left_out in (".secret", ".hidden/c.txt", "inner/__pycache__/b.pyc"):
        (source / left_out).write_bytes(b"never counted\n")
    return source


def test_files_are_dealt_out_to_slices(directory: Path) -> None:
    assert etl.list_files(str(directory), 3) == [["a.txt"], ["inner/b.py"], []]


def test_the_report_joins_what_was_counted(directory: Path, tmp_path: Path) -> None:
    slices = etl.list_files(str(directory), 2)
    counts = [etl.count(str(directory), files) for files in slices]
    totals = etl.report(str(directory), counts, str(tmp_path / "out"))

    path = tmp_path / "out" / "report.md"
    assert totals == {"files": 2, "lines": 3, "words": 4, "bytes": 19, "report": str(path)}
    text = path.read_text()
    assert "- 2 files" in text
    assert "| .txt | 2 |" in text
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_has_gone_is_counted_as_unreadable(directory: Path) -> None:
    assert etl.count(str(directory), ["gone.txt", "a.txt"])["totals"]["unreadable"] == 1


def test_a_directory_must_be_one_and_not_too_large(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotADirectoryError, match="missing"):
        etl.list_files(str(directory / "missing"), 2)
    monkeypatch.setattr(etl, "MAX_FILES", 1)
    with pytest.raises(ValueError, match="holds 2 files"):
        etl.list_files(str(directory), 2)


@pytest.mark.parametrize("size", [0, 1, 7, 65_536])
def test_a_step_hands_on_its_own_bytes(size: int) -> None:
    output = replay.step("first", "bin/first", 0, size, {}, {})

    assert len(output["payload"]) == size
    assert output == replay.step("first", "bin/first", 0, size, {}, {})
    replay.step("second", "bin/second", 0, 1, {"first": output}, {"first": size})


def test_a_step_refuses_what_its_parents_never_handed_on() -> None:
    mine = replay.step("first", "bin/first", 0, 10, {}, {})
    other = replay.step("other", "bin/other", 0, 10, {}, {})
    for inputs, said in (
        ({}, "needs the outputs of"),
        ({"first": mine, "other": other}, "needs the outputs of"),
        ({"first": other}, "never handed on"),
        ({"first": {**mine, "payload": mine["payload"][:-1]}}, "got 9 bytes"),
        ({"first": {**mine, "digest": other["digest"]}}, "never handed on"),
    ):
        with pytest.raises(replay.WrongInputError, match=said):
            replay.step("second", "bin/second", 0, 1, inputs, {"first": 10})
