"""How many messages a shard sends ahead."""

from __future__ import annotations

import pytest

from taskmesh.worker.engine.prefetch import AHEAD, SCARCE, SHORT_TASK_WINDOW, Prefetch


@pytest.mark.parametrize(
    ("window", "expected"), [(SHORT_TASK_WINDOW, AHEAD), (SHORT_TASK_WINDOW - 1, 4), (2, None), (0, None)]
)
def test_it_follows_the_pool(window: int, expected: int | None) -> None:
    assert Prefetch(0, 4).adapt(window) == expected


def test_it_tells_a_change_once() -> None:
    prefetch = Prefetch(0, 4)
    assert prefetch.current == SCARCE
    assert prefetch.adapt(100) == AHEAD
    assert prefetch.adapt(100) is None
    assert prefetch.adapt(1) == SCARCE


def test_a_fixed_one_stays() -> None:
    prefetch = Prefetch(7, 4)
    assert (prefetch.current, prefetch.adapt(100)) == (7, None)
