"""What runs is told that its run was cancelled; what undoes that is not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from taskmesh.model.flow import Compensation, Node
from taskmesh.worker.channels.protocol import Work
from tests.contract.store_bench import plan_of
from tests.unit.engine_bench import EngineBench

Test = Callable[[EngineBench], Awaitable[None]]
UNDOABLE = plan_of(Node("first", "t", compensation=Compensation("t")), Node("second", "t", needs=("first",)))


async def _next_work(bench: EngineBench) -> Work:
    await bench.until(lambda: bool(bench.pool.works))
    return next(iter(bench.pool.works.values()))


async def _look(bench: EngineBench) -> None:
    """Twice: what has just begun is left alone by the first."""
    for _ in range(2):
        await bench.engine.look_at_halts(grace_seconds=60.0)


def test_what_runs_of_a_cancelled_run_is_told_and_its_undo_is_not(play_by_hand: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        bench.submit(UNDOABLE)
        bench.pool.finish((await _next_work(bench)).id)
        work = await _next_work(bench)
        bench.side.controls.halt_runs(["r1"], "cancelled", compensate=True)
        await _look(bench)
        assert bench.pool.cancelled == [work.id]
        bench.pool.finish(work.id)
        undo = await _next_work(bench)
        await _look(bench)
        assert bench.pool.cancelled == [work.id]
        bench.pool.finish(undo.id)
        await bench.until(lambda: bench.is_idle and bench.status() == "compensated")

    play_by_hand(test)
