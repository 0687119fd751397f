from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from taskmesh.worker.executors.pace import MAX_LOOKAHEAD, Pace, share_out


def test_nothing_is_sent_ahead_before_anything_is_known() -> None:
    assert Pace().lookahead == 0


def test_short_tasks_are_sent_ahead_and_one_long_one_ends_it_for_a_while() -> None:
    pace = Pace()
    for _ in range(50):
        pace.observe(0.0001)
    assert pace.lookahead == MAX_LOOKAHEAD
    pace.observe(3600.0)
    assert pace.lookahead == 0
    for _ in range(20):
        pace.observe(0.0001)
    assert pace.lookahead > 0


def test_tasks_of_milliseconds_wait_for_no_more_than_that() -> None:
    pace = Pace()
    for _ in range(100):
        pace.observe(0.002)
    assert pace.lookahead in (4, 5)


def test_shares_go_to_the_idle_first() -> None:
    assert share_out(2, held=[10, 0, 0], windows=[33, 33, 33]) == [0, 1, 1]
    assert share_out(4, held=[2, 0], windows=[33, 33]) == [1, 3]
    assert share_out(5, held=[0, 0], windows=[1, 0]) == [1, 0]


@given(
    st.integers(0, 200),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=0, max_size=6),
)
def test_shares_fill_the_room_and_never_more(count: int, executors: list[tuple[int, int]]) -> None:
    held = [load for load, _ in executors]
    windows = [window for _, window in executors]
    shares = share_out(count, held, windows)
    room = sum(max(0, window - load) for load, window in executors)
    assert sum(shares) == min(count, room)
    assert all(share == 0 or load + share <= window for share, load, window in zip(shares, held, windows, strict=True))
