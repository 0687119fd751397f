"""Tasks that run for long hold no messages, and what waits behind them goes to others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from taskmesh.model.states import NodeState
from taskmesh.worker.engine.occupancy import RESTING_LOOKS
from tests.unit.engine_bench import EngineBench, single

Test = Callable[[EngineBench], Awaitable[None]]


@pytest.fixture
def play(play_by_hand: Callable[[Test], None]) -> Callable[[Test], None]:
    """Runs a test with an engine that has one long task and no room for another."""

    def run(test: Test) -> None:
        async def behind_a_long_task(bench: EngineBench) -> None:
            bench.pool.window = 1
            bench.submit(single(), "long")
            await bench.until(lambda: len(bench.pool.works) == 1)
            await test(bench)

        play_by_hand(behind_a_long_task)

    return run


def test_a_message_is_acked_while_its_task_runs_and_the_run_still_ends(play: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        bench.engine.look_at_long_tasks()
        assert len(bench.broker.unacked) == 1
        bench.engine.look_at_long_tasks()
        assert bench.broker.unacked == {}
        bench.pool.finish_all()
        await bench.until(lambda: bench.status("long") == "succeeded")

    play(test)


def test_a_copy_that_comes_later_is_acked_too_and_not_run(play: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        [body] = bench.broker.unacked.values()
        for _ in range(2):
            bench.engine.look_at_long_tasks()
        bench.pool.window = 2
        bench.broker.deliver(body, redelivered=True)
        await bench.turn()
        bench.engine.look_at_long_tasks()
        assert bench.broker.unacked == {}
        assert set(bench.pool.times.values()) == {1}

    play(test)


def test_what_waits_behind_long_tasks_goes_to_others_until_there_is_room(play: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        bench.submit(single(), "behind")
        await bench.turn()
        bench.engine.look_at_long_tasks()
        assert not bench.broker.paused
        bench.engine.look_at_long_tasks()
        assert bench.broker.paused
        assert len(bench.broker.requeued) == 1
        bench.engine.look_at_long_tasks()
        assert bench.broker.paused
        bench.pool.finish_all()
        await bench.until(lambda: not bench.broker.paused)

    play(test)


def test_what_was_claimed_and_got_no_executor_is_handed_back_unburned(play: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        bench.pool.window = 2
        bench.submit(single(), "behind")
        await bench.until(lambda: len(bench.pool.works) == 2)
        waiting = max(bench.pool.works)
        bench.pool.waiting[waiting] = bench.pool.works.pop(waiting)
        bench.broker.confirms = False
        for _ in range(2):
            bench.engine.look_at_long_tasks()
        await bench.until(lambda: bench.side.record("behind").nodes[0].state is NodeState.READY)
        assert bench.broker.paused
        assert bench.side.record("behind").nodes[0].attempt == 0

    play(test)


def test_after_a_while_it_is_tried_whether_tasks_of_another_kind_have_room(play: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        bench.submit(single(), "behind")
        await bench.turn()
        for _ in range(2):
            bench.engine.look_at_long_tasks()
        for _ in range(RESTING_LOOKS):
            assert bench.broker.paused
            bench.engine.look_at_long_tasks()
        assert not bench.broker.paused

    play(test)


def test_who_drains_takes_nothing_again(play: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        bench.submit(single(), "behind")
        await bench.turn()
        for _ in range(2):
            bench.engine.look_at_long_tasks()
        bench.engine.stop_taking()
        bench.pool.finish_all()
        await bench.until(lambda: bench.is_idle)
        assert bench.broker.paused

    play(test)


def test_a_short_wait_for_room_changes_nothing(play: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        bench.submit(single(), "behind")
        await bench.turn()
        bench.engine.look_at_long_tasks()
        bench.pool.finish_all()
        await bench.until(lambda: len(bench.pool.works) == 1)
        bench.engine.look_at_long_tasks()
        assert not bench.broker.paused
        assert bench.broker.requeued == []

    play(test)
