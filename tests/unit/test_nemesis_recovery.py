"""What the experiments measure of recovery: waiting, without work, and throughput around a fault."""

from __future__ import annotations

import pytest

from tests.nemesis.effects import BEGIN, END, Effect
from tests.nemesis.recovery import bound_seconds, waited_seconds
from tests.nemesis.throughput import Dip, dip_around


def _execution(node: str, begin: float, end: float | None) -> list[Effect]:
    begun = Effect(BEGIN, "r", node, 1, 7, begin)
    return [begun] if end is None else [begun, Effect(END, "r", node, 1, 7, end, "word")]


@pytest.mark.parametrize(
    ("executions", "waited"),
    [
        ([], 10.0),
        ([(101.0, 103.0)], 8.0),
        ([(99.0, 101.0), (109.0, 112.0)], 8.0),
        ([(101.0, 104.0), (102.0, 103.0), (103.0, 105.0)], 6.0),
        ([(101.0, None)], 10.0),
        ([(90.0, 120.0)], 0.0),
        ([(90.0, 95.0)], 10.0),
    ],
)
def test_only_the_time_without_user_code_counts(executions: list[tuple[float, float | None]], waited: float) -> None:
    effects = [effect for at, times in enumerate(executions) for effect in _execution(f"n{at}", *times)]
    assert waited_seconds(sorted(effects, key=lambda each: each.at), 100.0, 110.0) == pytest.approx(waited)


def test_the_bound_grows_with_the_lease_and_with_what_an_experiment_waits_for_itself() -> None:
    assert bound_seconds(own_waits_seconds=7.0) - bound_seconds() == pytest.approx(7.0)
    assert bound_seconds(lease_seconds=8.0) - bound_seconds(lease_seconds=3.0) == pytest.approx(7.0)


def _ends(*rates: tuple[float, float, int]) -> list[float]:
    """``(from, to, per second)``: evenly spread."""
    return [
        start + number / per_second
        for start, stop, per_second in rates
        for number in range(round((stop - start) * per_second))
    ]


def test_throughput_is_back_when_a_whole_second_has_nearly_the_rate_of_before() -> None:
    ends = _ends((90.0, 100.0, 100), (107.0, 110.0, 50), (110.0, 120.0, 100))
    assert dip_around(ends, died_at=100.0, back_at=105.0) == Dip(per_second=100.0, seconds=pytest.approx(5.9, abs=0.2))


def test_throughput_that_never_comes_back_is_told() -> None:
    ends = _ends((90.0, 100.0, 100), (107.0, 120.0, 80))
    assert dip_around(ends, died_at=100.0, back_at=105.0).seconds == float("inf")


def test_a_backlog_that_is_worked_off_counts_as_well() -> None:
    ends = _ends((90.0, 100.0, 100), (106.0, 107.0, 400), (107.0, 110.0, 100))
    assert dip_around(ends, died_at=100.0, back_at=105.0).seconds == pytest.approx(1.3, abs=0.2)
