"""A place for large values: the same promises in a directory and in an object store (one in memory)."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from taskmesh.errors import PayloadError, PayloadUnavailableError, UsageError
from taskmesh.payload.opening import PayloadSettings, open_payloads
from taskmesh.payload.payloads import SHARDS, Payloads
from taskmesh.wire import pack

MAX_BYTES = 4 * 1024 * 1024
PATIENCE_SECONDS = 30
NASTY_IDS = ("r", "R", "a..b", "2026:tick@7.Z-_", "x" * 128)

Change = Callable[[str, bytes], None]


@pytest.fixture(params=["directory", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Payloads, Change]:
    """A place, and what changes the bytes at a path of it behind its back."""
    if request.param == "directory":
        url = (tmp_path / "new" / "place").as_uri()
        opened = open_payloads(PayloadSettings(url, "ns", 1024, MAX_BYTES))
        assert opened is not None
        return opened, lambda path, data: (tmp_path / "new" / "place" / path).write_bytes(data) and None
    objects = MemoryStore()
    return Payloads(objects, "memory://test", "ns", MAX_BYTES), lambda path, data: objects.put(path, data) and None


@pytest.fixture
def payloads(place: tuple[Payloads, Change]) -> Payloads:
    return place[0]


def _runs(payloads: Payloads) -> set[str]:
    return {run_id for shard in SHARDS for run_id in payloads.runs(shard)}


@pytest.mark.parametrize("run_id", NASTY_IDS)
def test_what_was_put_aside_comes_back(payloads: Payloads, run_id: str) -> None:
    value = {"rows": list(range(1000)), "bytes": b"\0" * 100_000}
    stored = payloads.put(run_id, pack(value))
    assert len(stored) < 128
    assert payloads.value(run_id, stored) == value
    assert payloads.value(run_id, pack("small")) == "small"
    assert _runs(payloads) == {run_id}


def test_runs_whose_ids_differ_in_case_have_places_of_their_own(payloads: Payloads) -> None:
    lower, upper = payloads.put("run", pack("lower")), payloads.put("RUN", pack("upper"))
    for path in payloads.contents("run"):
        assert path.isascii()
        assert path.lower() == path
    payloads.remove("run", payloads.contents("run"))
    assert payloads.value("RUN", upper) == "upper"
    with pytest.raises(PayloadError):
        payloads.value("run", lower)


def test_what_is_not_there_is_told_with_its_run_and_its_place(payloads: Payloads) -> None:
    stored = payloads.put("r-1", pack("x" * 2000))
    with pytest.raises(PayloadError, match=r"a value of run 'r-2' \(2003 bytes, [0-9a-f]{32} in .*/ns\) is not there"):
        payloads.value("r-2", stored)


@pytest.mark.parametrize("data", [b"", b"other", pack("y" * 2000)])
def test_what_was_changed_is_not_taken(place: tuple[Payloads, Change], data: bytes) -> None:
    payloads, change = place
    stored = payloads.put("r", pack("x" * 2000))
    [path] = payloads.contents("r")
    change(path, data)
    with pytest.raises(PayloadError, match="is not what was put there"):
        payloads.value("r", stored)


def test_what_is_over_the_limit_is_not_even_fetched(payloads: Payloads) -> None:
    stored = payloads.put("r", pack(b"x" * MAX_BYTES))
    with pytest.raises(PayloadError, match=f"is too large: payload.max_bytes allows {MAX_BYTES}"):
        payloads.value("r", stored)


def test_a_copy_outlives_what_it_was_made_of(payloads: Payloads) -> None:
    stored = payloads.put("origin", pack("x" * 2000))
    own = payloads.copy(stored, "origin", "fork")
    assert own != stored
    assert payloads.copy(pack(1), "origin", "fork") == pack(1)
    payloads.remove("origin", payloads.contents("origin"))
    assert payloads.value("fork", own) == "x" * 2000
    assert _runs(payloads) == {"fork"}
    with pytest.raises(PayloadError, match=r"'origin'.*is not there"):
        payloads.copy(stored, "origin", "fork")


def test_removing_takes_what_was_listed_and_nothing_that_came_after(payloads: Payloads) -> None:
    old = payloads.put("r", pack("old" * 1000))
    listed = payloads.contents("r")
    new = payloads.put("r", pack("old" * 1000))
    for _ in range(2):
        payloads.remove("r", listed)
        assert payloads.value("r", new) == "old" * 1000
        with pytest.raises(PayloadError):
            payloads.value("r", old)
    payloads.remove("r", payloads.contents("r"))
    assert _runs(payloads) == set()
    assert payloads.contents("r") == []


def test_a_place_belongs_to_one_installation(payloads: Payloads) -> None:
    for _ in range(2):
        payloads.claim("first/16")
    with pytest.raises(UsageError, match=r"belongs to another installation \('first/16', not 'second/16'\)"):
        payloads.claim("second/16")
    assert _runs(payloads) == set()


def test_a_directory_is_nobody_elses_and_rid_of_what_a_killed_writer_left(tmp_path: Path) -> None:
    root = tmp_path / "place"
    payloads = open_payloads(PayloadSettings(root.as_uri(), "ns", 1024, MAX_BYTES))
    assert payloads is not None
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    stored = payloads.put("r", pack("x"))
    [path] = payloads.contents("r")
    # As the library names a file while it writes it; its own listing passes over such.
    (root / f"{path}#1").write_bytes(b"half")
    (root / "ns" / "0" / "not ours").mkdir(parents=True, exist_ok=True)
    assert payloads.value("r", stored) == "x"
    payloads.remove("r", payloads.contents("r"))
    assert _runs(payloads) == set()
    assert not (root / path).parent.exists()


def test_a_directory_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PayloadUnavailableError, match=r"payload.url.*cannot be made"):
        open_payloads(PayloadSettings((tmp_path / "file" / "below").as_uri(), "ns", 1024, MAX_BYTES))
    payloads = open_payloads(PayloadSettings((tmp_path / "place").as_uri(), "ns", 1024, MAX_BYTES))
    assert payloads is not None
    os.rmdir(tmp_path / "place")
    (tmp_path / "place").touch()
    with pytest.raises(PayloadUnavailableError, match="cannot be used"):
        payloads.put("r", b"x")


def test_an_object_store_that_does_not_answer_is_told_without_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskmesh.payload.opening.RETRY_SECONDS", 0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "some-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "some-secret")
    payloads = open_payloads(PayloadSettings("s3://bucket/prefix", "ns", 1024, MAX_BYTES))
    assert payloads is not None
    with pytest.raises(PayloadUnavailableError, match="s3://bucket/prefix/ns cannot be used") as caught:
        payloads.put("r", b"x")
    assert "some-" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_of_a_fork_is_told_rather_than_left_waiting(payloads: Payloads) -> None:
    payloads.put("r", pack("x"))
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE_SECONDS)
        try:
            payloads.put("r", pack("y"))
        except PayloadUnavailableError as error:
            os._exit(0 if "was forked from one that had used it" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_nothing_is_opened_where_nothing_is_named() -> None:
    assert open_payloads(PayloadSettings()) is None
