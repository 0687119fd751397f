"""What runs had put aside goes when the store has forgotten them, and nothing else ever does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from taskmesh.clock import SystemClock
from taskmesh.errors import StoreUnavailableError, UsageError
from taskmesh.keeper.payload_sweep import PayloadSweep
from taskmesh.model.states import RunState
from taskmesh.observability.tally import Tally
from taskmesh.payload.opening import PayloadSettings, open_payloads
from taskmesh.payload.payloads import Payloads
from taskmesh.wire import pack

PATIENCE_SECONDS = 30.0


class Memory:
    """What the store knows of runs; ``on_look`` is called before each answer."""

    def __init__(self) -> None:
        self.runs: set[str] = set()
        self.name = "mine/16"
        self.is_away = False
        self.on_look: Callable[[int], None] = lambda _: None
        self.looks = 0
        self.expected: set[str] = set()

    def among(self, run_ids: Sequence[str]) -> set[str]:
        return self.expected & set(run_ids)

    def installation(self) -> str:
        if self.is_away:
            raise StoreUnavailableError("away")
        return self.name

    def statuses(self, run_ids: Sequence[str]) -> list[RunState | None]:
        self.looks += 1
        self.on_look(self.looks)
        return [RunState.SUCCEEDED if run_id in self.runs else None for run_id in run_ids]


@pytest.fixture
def payloads(tmp_path: Path) -> Payloads:
    opened = open_payloads(PayloadSettings(tmp_path.as_uri(), "ns", 1024, 2**20))
    assert opened is not None
    return opened


@pytest.fixture
def memory() -> Memory:
    return Memory()


def _sweep(payloads: Payloads | None, memory: Memory) -> PayloadSweep:
    store: Any = memory
    return PayloadSweep(lambda: payloads, store, store, store, 5.0, Tally(), SystemClock())


def test_only_what_no_run_needs_goes(payloads: Payloads, memory: Memory) -> None:
    memory.runs = {f"kept-{at}" for at in range(40)}
    kept = {run_id: payloads.put(run_id, pack(run_id)) for run_id in memory.runs}
    for at in range(40):
        payloads.put(f"gone-{at}", pack("first"))
        payloads.put(f"gone-{at}", pack("of an attempt that nobody has heard of"))
    sweep = _sweep(payloads, memory)
    assert sweep.sweep() == 80
    assert sweep.sweep() == 0
    for run_id, stored in kept.items():
        assert payloads.value(run_id, stored) == run_id


def test_what_a_new_run_of_the_same_id_puts_aside_stays(payloads: Payloads, memory: Memory) -> None:
    payloads.put("same", pack("old"))
    new: list[bytes] = []

    def begin_anew(look: int) -> None:
        if look == 2:
            memory.runs.add("same")
            new.append(payloads.put("same", pack("new")))

    memory.on_look = begin_anew
    assert _sweep(payloads, memory).sweep() == 0
    assert payloads.value("same", new[0]) == "new"


def test_what_is_put_aside_for_a_run_that_is_about_to_be_admitted_stays(payloads: Payloads, memory: Memory) -> None:
    stored = payloads.put("coming", pack("its parameter"))
    memory.expected = {"coming"}
    sweep = _sweep(payloads, memory)
    assert sweep.sweep() == 0
    # It is admitted, and expected no more, while the sweep is between its questions.
    memory.runs, memory.expected = {"coming"}, set()
    assert sweep.sweep() == 0
    assert payloads.value("coming", stored) == "its parameter"
    memory.runs = set()
    assert sweep.sweep() == 1


@pytest.mark.parametrize("asked", ["among", "statuses"])
def test_no_moment_lies_between_being_expected_and_being_there(
    payloads: Payloads, memory: Memory, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    stored = payloads.put("coming", pack("its parameter"))
    memory.expected = {"coming"}
    answer = getattr(memory, asked)

    def admit_meanwhile(run_ids: Sequence[str]) -> Any:
        found = answer(run_ids)
        memory.runs, memory.expected = {"coming"}, set()
        return found

    monkeypatch.setattr(memory, asked, admit_meanwhile)
    assert _sweep(payloads, memory).sweep() == 0
    assert payloads.value("coming", stored) == "its parameter"


def test_a_place_of_another_installation_is_left_alone(payloads: Payloads, memory: Memory) -> None:
    payloads.claim("another/16")
    stored = payloads.put("its-run", pack("its output"))
    with pytest.raises(UsageError, match="belongs to another installation"):
        _sweep(payloads, memory).sweep()
    assert payloads.value("its-run", stored) == "its output"


def test_a_store_that_is_away_forgets_nothing(payloads: Payloads, memory: Memory) -> None:
    payloads.put("gone", pack("x"))
    memory.is_away = True
    with pytest.raises(StoreUnavailableError):
        _sweep(payloads, memory).sweep()
    assert len(payloads.contents("gone")) == 1


def test_it_goes_on_after_a_failure_until_it_is_ended(payloads: Payloads, memory: Memory) -> None:
    payloads.put("gone", pack("x"))
    memory.is_away = True

    async def live() -> None:
        sweep = _sweep(payloads, memory)
        for _ in range(2):
            sweep.begin()
        memory.is_away = False
        async with asyncio.timeout(PATIENCE_SECONDS):
            while payloads.contents("gone"):
                await asyncio.sleep(0.01)
        sweep.end()
        sweep.end()

    asyncio.run(live())


def test_without_a_place_there_is_nothing_to_do(memory: Memory) -> None:
    assert _sweep(None, memory).sweep() is None
    assert cast("Any", memory).looks == 0
