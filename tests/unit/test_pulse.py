"""Heartbeats on their way from a task to the store."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Sequence

import pytest

from taskmesh import TaskCancelledError, TooLargeError
from taskmesh.clock import SystemClock
from taskmesh.wire import pack
from taskmesh.worker.channels.protocol import Failure, Work
from taskmesh.worker.executors.invoke import TaskContext
from taskmesh.worker.executors.pulse import Pulse
from tests.unit.engine_bench import EngineBench, single

PATIENCE_SECONDS = 10.0
CANCELLED = Failure("taskmesh.errors.TaskCancelledError", "it should end", "")


class Receiver:
    def __init__(self) -> None:
        self.batches: list[list[tuple[int, bytes]]] = []
        self.arrived = threading.Condition()

    def __call__(self, beats: Sequence[tuple[int, bytes]]) -> None:
        with self.arrived:
            self.batches.append(list(beats))
            self.arrived.notify_all()

    def wait_for(self, count: int) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.batches) >= count, PATIENCE_SECONDS)


def test_the_first_beat_leaves_at_once_and_the_newest_of_the_others_soon() -> None:
    receiver = Receiver()
    pulse = Pulse(receiver, SystemClock())
    pulse.beat(1, b"first")
    assert receiver.batches == [[(1, b"first")]]
    for number in range(100):
        pulse.beat(1, b"%d" % number)
    pulse.beat(1, b"")
    receiver.wait_for(2)
    assert receiver.batches[-1] == [(1, b"99")]
    assert len(receiver.batches) < 50


def test_the_last_word_of_a_task_leaves_before_its_end() -> None:
    receiver = Receiver()
    pulse = Pulse(receiver, SystemClock())
    pulse.beat(1, b"first")
    pulse.beat(1, b"last")
    pulse.end(1)
    assert receiver.batches == [[(1, b"first")], [(1, b"last")]]


def test_only_a_task_that_gives_signs_is_cancelled() -> None:
    pulse = Pulse(Receiver(), SystemClock())
    context = TaskContext(Work(1, "t", b"", ("r", "n", 1)), pulse)
    pulse.cancel(1)
    context.heartbeat()
    pulse.cancel(1)
    assert context.cancelled
    with pytest.raises(TaskCancelledError, match="run 'r'"):
        context.heartbeat()
    pulse.end(1)
    assert not context.cancelled


def test_a_checkpoint_has_a_size() -> None:
    context = TaskContext(
        Work(1, "t", b"", ("r", "n", 1), checkpoint=pack({"at": 3})), Pulse(Receiver(), SystemClock())
    )
    assert context.checkpoint == {"at": 3}
    with pytest.raises(TooLargeError, match="at most 65536"):
        context.heartbeat("x" * 70_000)


@pytest.fixture
def play(
    play_by_hand: Callable[[Callable[[EngineBench], Awaitable[None]]], None],
) -> Callable[[Callable[[EngineBench], Awaitable[None]]], None]:
    def run(test: Callable[[EngineBench], Awaitable[None]]) -> None:
        async def while_one_runs(bench: EngineBench) -> None:
            bench.submit(single())
            await bench.until(lambda: len(bench.pool.works) == 1)
            await test(bench)

        play_by_hand(while_one_runs)

    return run


def test_a_checkpoint_is_stored_before_a_lost_executor_is_told(
    play: Callable[[Callable[[EngineBench], Awaitable[None]]], None],
) -> None:
    async def test(bench: EngineBench) -> None:
        [work_id] = bench.pool.works
        bench.engine.on_beats([(work_id, pack("half-way"))])
        bench.pool.works.clear()
        bench.link.lost = {(bench.link.calls + 1, "request"), (bench.link.calls + 2, "reply")}
        bench.engine.on_lost([work_id], [], "it died")
        await bench.until(lambda: len(bench.pool.works) == 1)
        [work] = bench.pool.works.values()
        assert (work.checkpoint, work.context[2]) == (pack("half-way"), 2)

    play(test)


@pytest.mark.parametrize("way", ["halt", "stale"])
def test_who_should_not_go_on_hears_of_it(
    play: Callable[[Callable[[EngineBench], Awaitable[None]]], None], way: str
) -> None:
    async def test(bench: EngineBench) -> None:
        [work_id] = bench.pool.works
        if way == "halt":
            bench.side.halt("r1", "cancelled")
        else:
            bench.side.release(0, bench.side.record().nodes[0].token)
        bench.engine.on_beats([(work_id, b"")])
        await bench.until(lambda: bench.pool.cancelled == [work_id])
        bench.pool.finish(work_id, CANCELLED)
        await bench.until(lambda: bench.is_idle)
        assert bench.side.record().nodes[0].state == ("cancelled" if way == "halt" else "ready")

    play(test)
